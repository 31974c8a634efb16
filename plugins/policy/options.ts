import { type Static, Type } from 'typebox'

const names = (description: string) =>
  Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 256 }), { maxItems: 256, description }))

const literal = Type.Literal
/** A word that is mistyped must stop the start: a deny rule that never matches denies nothing. */
const TierName = Type.Union([literal('free'), literal('premium'), literal('enterprise')])
const ModeName = Type.Union([literal('sealed'), literal('inspected')])
const KindName = Type.Union([
  literal('ssh'),
  literal('tcp'),
  literal('http'),
  literal('exec'),
  literal('shell'),
  literal('sftp'),
  literal('agent'),
])

/** A condition that is absent holds for everybody; all that are present must hold. `*` stands for any text. */
export const PolicyRule = Type.Object(
  {
    effect: Type.Union([Type.Literal('allow'), Type.Literal('deny')]),
    users: names('Globs of user ids'),
    tiers: Type.Optional(Type.Array(TierName)),
    roles: names('One of these roles is enough'),
    machines: names('Globs of machine names'),
    modes: Type.Optional(Type.Array(ModeName)),
    kinds: Type.Optional(Type.Array(KindName)),
    targets: names('Globs of host:port; a request without a target matches none'),
    reason: Type.Optional(Type.String({ maxLength: 256, description: 'Told to the refused user' })),
  },
  { additionalProperties: false },
)
export type PolicyRule = Static<typeof PolicyRule>

export const PolicyOptions = Type.Object(
  {
    rules: Type.Array(PolicyRule, {
      default: [],
      maxItems: 1_000,
      description: 'First match wins; without one, owners reach their own machines',
    }),
  },
  { additionalProperties: false },
)
export type PolicyOptions = Static<typeof PolicyOptions>
