/** Who can do something about an error; a client recovers by category. */
export type ErrorCategory = 'network' | 'authentication' | 'configuration' | 'server' | 'protocol'

export interface ErrorKind {
  readonly category: ErrorCategory
  /** HTTP status of the problem document. */
  readonly status: number
  /** Close code of a link that ends for this reason, where it may end one. */
  readonly close?: number
}

/** What codes have in common stands here once, because pages load this. */
const KINDS = [
  {
    category: 'authentication',
    status: 401,
    close: 4401,
    codes: ['TOKEN_MISSING', 'TOKEN_INVALID', 'TOKEN_EXPIRED', 'TOKEN_REVOKED', 'TICKET_INVALID'],
  },
  {
    category: 'authentication',
    status: 403,
    close: 4403,
    codes: ['FORBIDDEN', 'POLICY_DENIED', 'TIER_REQUIRED'],
  },
  { category: 'configuration', status: 404, codes: ['MACHINE_UNKNOWN', 'KIND_UNKNOWN'] },
  { category: 'network', status: 503, codes: ['MACHINE_OFFLINE'] },
  {
    category: 'network',
    status: 502,
    codes: ['AGENT_LOST', 'CONNECT_REFUSED', 'DNS_FAILED', 'LINK_LOST', 'OUTCOME_UNKNOWN'],
  },
  { category: 'network', status: 504, close: 4408, codes: ['TIMEOUT'] },
  {
    // Of the way to a proxy. Dialling again may help: a certificate is renewed, a clock set, a captive portal left.
    category: 'network',
    status: 502,
    codes: [
      'CERTIFICATE_EXPIRED',
      'CERTIFICATE_NOT_YET_VALID',
      'CERTIFICATE_UNTRUSTED',
      'CERTIFICATE_WRONG_HOST',
      'CERTIFICATE_NOT_PINNED',
      'TLS_FAILED',
      'HTTP_PROXY_AUTH_REQUIRED',
      'HTTP_PROXY_FAILED',
    ],
  },
  // Of the routes of HTTP streaming: the link that bytes are for is over.
  { category: 'network', status: 404, codes: ['SESSION_UNKNOWN'] },
  {
    category: 'server',
    status: 429,
    close: 4429,
    codes: ['RATE_LIMITED', 'TOO_MANY_CONNECTIONS', 'TOO_MANY_STREAMS'],
  },
  {
    category: 'server',
    status: 503,
    codes: ['POOL_EXHAUSTED', 'CIRCUIT_OPEN', 'OVERLOADED', 'STATE_UNAVAILABLE', 'QUEUE_FULL'],
  },
  // Of an agent that asks for another replica than those at which it has links.
  { category: 'server', status: 409, codes: ['ALREADY_HOME'] },
  { category: 'server', status: 503, close: 1012, codes: ['SHUTTING_DOWN'] },
  { category: 'server', status: 500, close: 1011, codes: ['INTERNAL'] },
  {
    category: 'protocol',
    status: 502,
    codes: ['SSH_HANDSHAKE_FAILED', 'SSH_AUTH_FAILED', 'HOST_KEY_CHANGED', 'CHANNEL_OPEN_FAILED'],
  },
  { category: 'protocol', status: 400, close: 4400, codes: ['FRAME_INVALID'] },
  { category: 'protocol', status: 400, close: 1009, codes: ['FRAME_TOO_LARGE'] },
  { category: 'protocol', status: 400, close: 4406, codes: ['VERSION_UNSUPPORTED'] },
  { category: 'protocol', status: 400, close: 4409, codes: ['TAKEN_OVER'] },
  // As an answer to a request it names a stream that is not there.
  { category: 'protocol', status: 404, codes: ['UNKNOWN_STREAM'] },
  { category: 'protocol', status: 400, codes: ['RESUME_EXPIRED'] },
  // Of a client's queue on disk: nothing that crosses a link.
  { category: 'network', status: 503, codes: ['STILL_QUEUED'] },
  { category: 'configuration', status: 503, codes: ['QUEUE_LOCKED'] },
  { category: 'configuration', status: 507, codes: ['STORE_FAILED'] },
  { category: 'network', status: 499, codes: ['ABORTED'] },
  // FILE_FAILED is of a client that copies files: nothing that crosses a link.
  { category: 'configuration', status: 500, codes: ['CONFIG_INVALID', 'FILE_FAILED'] },
  // Of routes alone: a change of what has changed meanwhile, a request whose form is wrong, and one for which there is no route.
  { category: 'configuration', status: 412, codes: ['CONFIG_CHANGED'] },
  { category: 'protocol', status: 400, codes: ['REQUEST_INVALID'] },
  { category: 'protocol', status: 404, codes: ['ROUTE_UNKNOWN'] },
] as const satisfies readonly (ErrorKind & { readonly codes: readonly string[] })[]

export type ErrorCode = (typeof KINDS)[number]['codes'][number]

/** Every error there is, once. `docs/PROTOCOL.md` lists the same. */
export const ERROR_KINDS = Object.fromEntries(
  KINDS.flatMap((kind) => kind.codes.map((code): [ErrorCode, ErrorKind] => [code, kind])),
) as Readonly<Record<ErrorCode, ErrorKind>>
