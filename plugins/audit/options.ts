import { type Static, Type } from 'typebox'

export const AuditOptions = Type.Object(
  {
    dir: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'the folder of `audit.log` and of the files before it; by default the state folder',
      }),
    ),
    maxFileBytes: Type.Integer({
      default: 67_108_864,
      minimum: 4_096,
      description: 'the size at which a file is set aside and the next one begun',
    }),
    maxFileMs: Type.Integer({
      default: 604_800_000,
      minimum: 1_000,
      description: 'the age at which that happens',
    }),
    keepFiles: Type.Integer({
      default: 30,
      minimum: 1,
      description: 'how many files that were set aside are kept; the oldest is deleted',
    }),
    onFailure: Type.Union([Type.Literal('continue'), Type.Literal('refuse')], {
      default: 'continue',
      description:
        'what to do when nothing can be recorded: `continue`, or `refuse` links, streams and changes until it can be again',
    }),
  },
  { additionalProperties: false },
)

/** The record of who did what. */
export type AuditOptions = Static<typeof AuditOptions>
