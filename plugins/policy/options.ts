import { type Static, Type } from 'typebox'
import { KindName, ModeName } from '../../protocol/options.ts'

/** Globs: what could never be one of these names stops the start, for a rule that never matches denies nothing. */
const globs = (pattern: string, description: string) =>
  Type.Optional(Type.Array(Type.String({ pattern }), { minItems: 1, maxItems: 256, description }))

/** User ids, with `*`. */
const USERS = '^[\\w.@|+=:~*-]{1,128}$'

const literal = Type.Literal
const some = <T extends Parameters<typeof Type.Array>[0]>(item: T) =>
  Type.Optional(Type.Array(item, { minItems: 1, maxItems: 256 }))
const TierName = Type.Union([literal('free'), literal('premium'), literal('enterprise')])
/** A kind that a plugin has added. */
const AddedKindName = Type.String({ pattern: '^x-[a-z][a-z0-9-]{0,29}$' })
/** `agent`: to put the machine on line. */
const AskedName = Type.Union([...KindName.anyOf, literal('agent'), AddedKindName])

/** A condition that is absent holds for everybody, `owners` and `targets` of a rule that allows aside; all must hold. */
export const PolicyRule = Type.Object(
  {
    effect: Type.Union([literal('allow'), literal('deny')]),
    users: globs(USERS, 'Globs of user ids'),
    tiers: some(TierName),
    roles: globs(
      '^[\\w:.-]{1,64}$',
      'One of these roles is enough; `user` is everybody without the role agent',
    ),
    owners: globs(
      USERS,
      'Globs of the ids of those whose machines it is about. Absent from a rule that allows: their own alone',
    ),
    machines: globs('^[a-z0-9.*-]{1,63}$', 'Globs of machine names'),
    modes: some(ModeName),
    kinds: some(AskedName),
    targets: Type.Optional(
      Type.Array(Type.String({ maxLength: 300, pattern: '^(\\*|\\S+:(\\*|\\d+(-\\d+)?))$' }), {
        minItems: 1,
        maxItems: 256,
        description:
          'HOST:PORTS, with globs, networks and ranges; a stream without a target matches none. Absent from a rule that allows: the loopback of the machine alone',
      }),
    ),
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
      description: 'Rules that deny come before rules that allow, in whatever order they are written',
    }),
    default: Type.Union([literal('owner'), literal('deny')], {
      default: 'owner',
      description:
        'What applies if no rule matches: `owner` lets owners reach the loopback of their own machines, `deny` lets nobody reach anything',
    }),
  },
  { additionalProperties: false },
)
export type PolicyOptions = Static<typeof PolicyOptions>
