import type { suggestionFor as forPrograms } from '../codec/suggestions.ts'

const TOKEN = 'give the client a token that is valid now'
const AGAIN = 'try again in a moment'

/** What helps in a page, where there is neither a command line nor a file. */
const SUGGESTIONS: Partial<Record<Parameters<typeof forPrograms>[0], string>> = {
  TOKEN_MISSING: TOKEN,
  TOKEN_INVALID: TOKEN,
  TOKEN_EXPIRED: TOKEN,
  TOKEN_REVOKED: TOKEN,
  FORBIDDEN: 'use a token with exactly the roles that this needs',
  POLICY_DENIED: 'ask the operator of the proxy, or the owner of the machine, to allow it',
  TIER_REQUIRED: 'this needs a token of a higher tier',
  MACHINE_UNKNOWN: 'see that the agent runs on that machine, under this name',
  MACHINE_OFFLINE: 'see that the agent runs on that machine, under this name',
  AGENT_LOST: 'see whether the agent still runs on that machine, then try again',
  CONNECT_REFUSED: 'see that the service runs there, and listens at that address',
  TIMEOUT: 'check the network and the address, then try again',
  LINK_LOST: 'check the network, then try again',
  RATE_LIMITED: 'wait, or use a token of a higher tier',
  CIRCUIT_OPEN: 'see that its sshd answers',
  SHUTTING_DOWN: AGAIN,
  STATE_UNAVAILABLE: AGAIN,
  UNKNOWN_STREAM: 'the other end was restarted: send it again where that does no harm',
  VERSION_UNSUPPORTED: 'use the same version at both ends',
  QUEUE_FULL: 'send less at once',
  STILL_QUEUED: 'it is on disk, and is sent at the next start',
  OUTCOME_UNKNOWN: 'it may have been carried out: look before you send it again',
}

/** What a person may try, as the rest of a sentence; ''. Bundles for browsers have this in place of codec/suggestions.ts. */
export const suggestionFor: typeof forPrograms = (code) => SUGGESTIONS[code] ?? ''
