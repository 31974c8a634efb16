import { type Static, Type } from 'typebox'

/** The settings' `request` section. */
export const RequestOptions = Type.Object(
  {
    timeoutMs: Type.Integer({
      default: 30_000,
      minimum: 1,
      maximum: 86_400_000,
      description: 'Time for the head of a response; its body may take any time, as long as it moves',
    }),
    bodyMs: Type.Integer({
      default: 60_000,
      minimum: 1,
      maximum: 86_400_000,
      description:
        "How long the proxy waits for more of a request's body when the caller has stopped sending",
    }),
    idleMs: Type.Integer({
      default: 3_600_000,
      minimum: 1,
      maximum: 86_400_000,
      description:
        'How long a response that has begun may bring nothing while its caller takes what comes; an upgrade may be silent for any time',
    }),
    slowMs: Type.Integer({
      default: 5_000,
      minimum: 1,
      maximum: 86_400_000,
      description: 'A request that took longer is logged as WARN',
    }),
    hookMs: Type.Integer({
      default: 5_000,
      minimum: 1,
      maximum: 86_400_000,
      description: 'Deadline of one hook of a custom plugin, and of its policy',
    }),
  },
  { additionalProperties: false },
)
export type RequestOptions = Static<typeof RequestOptions>
