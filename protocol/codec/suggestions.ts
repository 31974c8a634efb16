import type { ErrorCode, Hop } from './errors.ts'

const SIGN_TOKEN =
  'sign a token with `tunnel token --sub NAME` on the proxy and give it as --token or TUNNEL_TOKEN'
const AGENT = 'start `tunnel agent --machine NAME` on that machine; `tunnel machines` lists what is on line'
const SAME_VERSION = 'use the same version at both ends'

/** What helps a person, as the rest of a sentence; of library, agent and command alike. */
const SUGGESTIONS: Record<ErrorCode, string> = {
  TOKEN_MISSING: SIGN_TOKEN,
  TOKEN_INVALID: `${SIGN_TOKEN}, or get one from its issuer with \`tunnel login\``,
  TOKEN_EXPIRED: SIGN_TOKEN,
  TOKEN_REVOKED: SIGN_TOKEN,
  TICKET_INVALID: 'it is good for one use within a short time: ask for another',
  FORBIDDEN:
    'use a token with exactly the roles that this needs: `tunnel token --sub NAME --role ROLE` signs one on the proxy',
  POLICY_DENIED: 'ask the operator of the proxy, or the owner of the machine, to allow it',
  TIER_REQUIRED: 'this needs a token of a higher tier',
  MACHINE_UNKNOWN: AGENT,
  KIND_UNKNOWN: 'check its name; the plugin that adds it has to be loaded at the proxy',
  MACHINE_OFFLINE: AGENT,
  AGENT_LOST: 'see whether the agent still runs on that machine, then try again',
  CONNECT_REFUSED: 'see that the service runs there, and listens at that address',
  DNS_FAILED: 'check the host name',
  TIMEOUT: 'check the network and the address, then try again',
  CERTIFICATE_EXPIRED:
    'its operator has to renew it; if that date lies ahead, set the clock of this computer',
  CERTIFICATE_NOT_YET_VALID: 'set the clock of this computer',
  CERTIFICATE_UNTRUSTED:
    "name its authority's certificate with --ca FILE or tls.ca (NODE_EXTRA_CA_CERTS adds to the public ones); without an authority of your own, somebody may be intercepting the connection",
  CERTIFICATE_WRONG_HOST: 'use one of its names in the address, or have one made for this name',
  CERTIFICATE_NOT_PINNED:
    'if the proxy has a new key, change tls.pin; otherwise somebody may be intercepting the connection',
  TLS_FAILED: '',
  HTTP_PROXY_AUTH_REQUIRED: 'give name and password in its URL: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT',
  HTTP_PROXY_FAILED:
    'check HTTPS_PROXY and HTTP_PROXY; NO_PROXY names what is reached without it, network.proxy=none uses none',
  SESSION_UNKNOWN: '',
  LINK_LOST: 'check the network, then try again',
  RATE_LIMITED: 'wait, or use a token of a higher tier',
  ALREADY_HOME: 'nothing: the agent looks for another replica by itself',
  TOO_MANY_CONNECTIONS: 'end some of your other connections, or use a token of a higher tier',
  TOO_MANY_STREAMS: 'wait for some of your streams to end, or use a token of a higher tier',
  POOL_EXHAUSTED: 'end some of your requests, or try again later',
  CIRCUIT_OPEN: 'see that its sshd answers',
  OVERLOADED: 'the proxy has too much to do just now: try again in a moment',
  SHUTTING_DOWN: 'the proxy is restarting: try again in a moment',
  STATE_UNAVAILABLE: 'the proxy cannot keep or reach its records just now: try again in a moment',
  INTERNAL: 'see the log of the proxy; --verbose shows the causes',
  SSH_HANDSHAKE_FAILED: 'see that an SSH server listens where the agent looks (--ssh HOST:PORT)',
  SSH_AUTH_FAILED: '',
  HOST_KEY_CHANGED:
    'if the machine was set up again, accept its key with `tunnel machines --trust NAME`; otherwise somebody may be intercepting the connection',
  CHANNEL_OPEN_FAILED: 'see that something listens at that address on the machine',
  FRAME_INVALID: SAME_VERSION,
  FRAME_TOO_LARGE: SAME_VERSION,
  VERSION_UNSUPPORTED: SAME_VERSION,
  UNKNOWN_STREAM: 'the other end was restarted, and this session is over: connect again',
  RESUME_EXPIRED: 'the path was gone for longer than streams.resumeMs: connect again',
  TAKEN_OVER: 'stop one of the two, or give it another name; after --forget, start the agent again',
  QUEUE_FULL: 'send less at once',
  STILL_QUEUED: 'it is on disk, and is sent at the next start',
  QUEUE_LOCKED: 'give each program a folder of its own (queue.dir)',
  STORE_FAILED: 'see that the folder can be written to and has room',
  OUTCOME_UNKNOWN: 'it may have been carried out: look before you send it again',
  ABORTED: '',
  FILE_FAILED: '',
  REQUEST_INVALID: SAME_VERSION,
  ROUTE_UNKNOWN: 'see that the address is that of a proxy, of the same version as this command',
  CONFIG_INVALID: '',
  CONFIG_CHANGED: 'read the settings again, then change them',
}

/** Where a code alone does not say what helps. */
const AT_HOP: Partial<Record<`${ErrorCode} ${Hop}`, string>> = {
  // Whoever does not know a stream has been restarted since; its hop says who that is.
  'UNKNOWN_STREAM agent': 'the agent on the machine was restarted, and this session is over: connect again',
  'UNKNOWN_STREAM proxy':
    'the proxy was restarted, and what ended at it is over: send it again where that does no harm',
  // The machine's own sshd has limits too, which no token raises.
  'TOO_MANY_CONNECTIONS agent': 'try again in a moment, when other logins to that machine are over',
  'RATE_LIMITED agent': "try again later; the log of the machine's sshd says which logins failed",
  // What another program's server answers is no question of our versions, nor what a proxy has understood and refuses.
  'FRAME_INVALID target': '',
  'FRAME_INVALID proxy': '',
  'TOKEN_INVALID client': SIGN_TOKEN,
  'INTERNAL client': 'this is a fault of the program itself: report it with what --verbose shows',
  'CONNECT_REFUSED proxy':
    'see that the proxy runs there (`tunnel server` starts one), or give its address with --url',
}

export function suggestionFor(code: ErrorCode, hop: Hop): string {
  return AT_HOP[`${code} ${hop}`] ?? SUGGESTIONS[code]
}
