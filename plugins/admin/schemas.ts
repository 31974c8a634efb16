import { Type } from 'typebox'

const optional = (schema: ReturnType<typeof Type.String>) => Type.Optional(schema)

const Setting = Type.Object({
  path: Type.String({ description: 'section.name' }),
  value: Type.Unknown({ description: 'secrets are masked' }),
  source: Type.String({ description: 'default, a profile, a file, a variable, a flag, or PATCH config' }),
  live: Type.Boolean({ description: 'it may be changed while the proxy runs' }),
  needsRestart: Type.Boolean({ description: 'its source has another value, which waits for a restart' }),
})

export const getConfig = {
  summary: 'The settings that hold, and where each came from; ETag names their version',
  response: { 200: Type.Object({ settings: Type.Array(Setting) }) },
}

export const patchConfig = {
  summary: 'Changes settings while the proxy runs, all that are named or none',
  description:
    'A JSON merge patch (RFC 7396). If-Match names the version that it was made for. What is set so holds until the process ends or null gives it back to the other sources.',
  headers: Type.Object({ 'if-match': optional(Type.String({ maxLength: 64 })) }),
  body: Type.Object({}, { additionalProperties: true }),
  response: {
    200: Type.Object({ changed: Type.Array(Type.String()), needRestart: Type.Array(Type.String()) }),
  },
}

const replica = optional(Type.String({ description: 'the one of several replicas that has it' }))

export const Session = Type.Object({
  id: Type.String(),
  user: Type.String(),
  machine: Type.String(),
  owner: optional(Type.String()),
  kind: Type.String(),
  mode: Type.String({ description: '`sealed` or `inspected`' }),
  target: optional(Type.String()),
  priority: Type.String(),
  state: Type.String({ description: '`opening`, `open` or `suspended`' }),
  since: Type.String(),
  bytesIn: Type.Integer({ description: 'towards the machine' }),
  bytesOut: Type.Integer(),
  watchers: Type.Integer({ description: 'who look on at it now: GET sessions/:id/watch' }),
  connectionId: Type.String(),
  correlationId: Type.String(),
  via: optional(
    Type.String({ description: 'the replicas that hand it over: the link of its client is there' }),
  ),
  replica,
})

/** Of several replicas, those that did not answer: what they have is missing. */
export const MISSING_HEADER = 'tunnel-replicas-missing'
/** Beside it: how many replicas there are in all. */
export const REPLICAS_HEADER = 'tunnel-replicas'
/** Those that have more than one answer may hold: the rest is left out. */
export const CUT_HEADER = 'tunnel-replicas-cut'

const TELLS_MISSING = `Where replicas did not answer, the header ${MISSING_HEADER} names them, and ${REPLICAS_HEADER} says how many replicas there are. ${CUT_HEADER} names those that have more than fits into an answer.`

export const listSessions = {
  summary: "The caller's live streams, on all replicas; an admin's question is answered with everybody's",
  description: TELLS_MISSING,
  response: { 200: Type.Array(Session) },
}

export const watchSession = {
  summary:
    'What passes on a live stream that is inspected, to its user or an admin, who changes nothing by it',
  description:
    'Lines of JSON (application/x-ndjson) for as long as the stream lives: `at`, `direction` (`in` towards the machine, `out`, `aux`) and `data` (base64) for what passes; `missedBytes` for what was not shown because it was too much, or was not read in time; `over` at the end, with `code` and `message` where the stream failed. It is recorded in the audit trail, and the stream tells of it (`watchers`). A sealed stream cannot be watched.',
  params: Type.Object({ id: Type.String({ maxLength: 128 }) }),
  response: { 200: Type.String({ description: 'one object a line' }) },
}

export const endSession = {
  summary: 'Ends a live stream, on whichever replica it is',
  params: Type.Object({ id: Type.String({ maxLength: 128 }) }),
  response: { 204: Type.Null() },
}

export const Link = Type.Object({
  connectionId: Type.String(),
  user: Type.String(),
  role: Type.String(),
  machine: optional(Type.String()),
  software: optional(Type.String()),
  transport: Type.String(),
  since: Type.String(),
  streams: Type.Integer(),
  unsentBytes: Type.Integer(),
  rttMs: Type.Optional(Type.Number()),
  replica,
})

export const listLinks = {
  summary: "The caller's links, on all replicas; an admin's question is answered with everybody's",
  description: TELLS_MISSING,
  response: { 200: Type.Array(Link) },
}

export const endLink = {
  summary: 'Ends a link, on whichever replica it is',
  description:
    'Its client or agent dials again, and its sealed streams go on over the next link: to keep it out, revoke its token. `id` is the connectionId.',
  params: Type.Object({ id: Type.String({ maxLength: 128 }) }),
  response: { 204: Type.Null() },
}

export const Circuit = Type.Object({
  user: Type.String(),
  owner: Type.String(),
  machine: Type.String(),
  state: Type.String({ description: '`closed`, `open` or `half_open`' }),
  retryAfterMs: Type.Number(),
  replica,
})

export const Connection = Type.Object({
  user: Type.String(),
  machine: Type.String(),
  owner: Type.String(),
  state: Type.String({ description: '`connecting`, `idle` or `busy`' }),
  channels: Type.Integer(),
  maxChannels: Type.Integer({ description: "as many as the machine's sshd is known to take" }),
  ageMs: Type.Integer(),
  isOld: Type.Boolean({ description: 'it goes when its last channel has' }),
  replica,
})

export const Wait = Type.Object({
  user: Type.String(),
  machine: Type.String(),
  owner: Type.String(),
  requests: Type.Integer(),
  replica,
})

export const RecentError = Type.Object({
  at: Type.String(),
  user: Type.String(),
  machine: Type.String(),
  kind: Type.String(),
  code: Type.String(),
  message: Type.String(),
  correlationId: Type.String(),
  replica,
})

export const Usage = Type.Object({
  user: Type.String(),
  links: Type.Integer(),
  streams: Type.Integer(),
  bufferBytes: Type.Integer({ description: 'what their streams hold in the process' }),
  replica,
})

const poolStates = { connecting: Type.Integer(), idle: Type.Integer(), busy: Type.Integer() }
export const PoolAndWaiting = Type.Object({ ...poolStates, waiting: Type.Integer() })

const Replica = Type.Object({
  id: Type.String(),
  software: Type.String(),
  rttMs: Type.Optional(Type.Number()),
  clockAheadMs: Type.Optional(Type.Number()),
  load: Type.Integer({ description: 'streams that it carries' }),
  streams: Type.Integer({ description: 'those between it and the replica that was asked' }),
  draining: Type.Boolean(),
  peers: Type.Optional(Type.Array(Type.String(), { description: 'replicas to which it has a link' })),
})

const Homes = Type.Object({
  owner: Type.String(),
  name: Type.String(),
  epoch: Type.Integer({ description: "of the agent's program; 0 where it does not say" }),
  homes: Type.Array(Type.String(), { description: 'replicas at which it has a link' }),
  route: Type.String({ description: 'the replica by which streams from the one that was asked go' }),
  via: Type.Optional(
    Type.String({ description: 'the third replica by which they go there; missing where there is a link' }),
  ),
})

export const getCluster = {
  summary: 'Which replicas there are, and which of them has which machine, as the one that was asked knows',
  response: {
    200: Type.Object({
      enabled: Type.Boolean({
        description: 'this proxy is one of several; false: there is no more in the answer',
      }),
      id: optional(Type.String({ description: 'the replica that was asked' })),
      isWorker: Type.Optional(
        Type.Boolean({ description: 'it is one of several processes behind one port' }),
      ),
      stateAvailable: Type.Optional(Type.Boolean({ description: 'Redis answers it' })),
      isStarting: Type.Optional(
        Type.Boolean({ description: 'it has only started, and is not linked to all others yet' }),
      ),
      replicas: Type.Optional(Type.Array(Replica, { description: 'the one that was asked is the first' })),
      missing: Type.Optional(
        Type.Array(Type.String(), { description: 'replicas that are known, and to which it has no link' }),
      ),
      machines: Type.Optional(Type.Array(Homes)),
      machineCount: Type.Optional(
        Type.Integer({ description: 'machines on line, with those that are not in the list' }),
      ),
    }),
  },
}

export const diagnostics = {
  summary:
    "What the caller has at this proxy, on all of its replicas; an admin's question is answered with what everybody has",
  description: TELLS_MISSING,
  response: {
    200: Type.Object({
      version: Type.String(),
      uptimeSeconds: Type.Integer(),
      links: Type.Array(Link),
      sessions: Type.Array(Session),
      pool: Type.Object(poolStates),
      connections: Type.Array(Connection, { description: 'SSH connections of the pool' }),
      waiting: Type.Integer({ description: 'requests that wait for an SSH channel' }),
      waits: Type.Array(Wait, { description: 'the same by machine' }),
      circuits: Type.Array(Circuit),
      errors: Type.Array(RecentError, { description: 'what streams ended with of late, the newest first' }),
      users: Type.Array(Usage, { description: 'what each has at each replica' }),
      replica: optional(Type.String({ description: 'the one of several that answers' })),
      missing: Type.Optional(
        Type.Array(Type.String(), {
          description: 'replicas that did not answer it: what they have is not here',
        }),
      ),
      cut: Type.Optional(
        Type.Array(Type.String(), {
          description: 'replicas that have more than fits into an answer: the rest is not here',
        }),
      ),
      replicas: Type.Optional(
        Type.Array(Replica, {
          description: 'to which the one that answers has a link; for an admin, of several replicas',
        }),
      ),
    }),
  },
}

export const setCircuit = {
  summary: 'Opens or closes the circuit of a user for a machine',
  body: Type.Object(
    {
      user: Type.String({ minLength: 1, maxLength: 128 }),
      machine: Type.String({ minLength: 1, maxLength: 63 }),
      owner: optional(
        Type.String({ minLength: 1, maxLength: 128, description: "the machine's; default: the user" }),
      ),
      state: Type.Union([Type.Literal('open'), Type.Literal('closed')]),
    },
    { additionalProperties: false },
  ),
  response: { 204: Type.Null() },
}
