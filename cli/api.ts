import { listMachines, type Machine } from '../client/machines.ts'
import { addressesOf } from '../dial/addresses.ts'
import { answerOf, askPublicKey, callProxy, fetchFromProxy } from '../dial/api.ts'
import type { EnrolledMachine, EnrolmentCode } from '../dial/enrolment.ts'
import type { LoginPlace } from '../dial/login.ts'
import { TunnelError } from '../protocol/codec/errors.ts'
import { isMachineName } from '../protocol/codec/heads.ts'
import type { Access } from './credentials.ts'
import { fetchOf } from './reach.ts'

/** How long a plain question to the proxy may take, in ms. */
const QUESTION_MS = 15_000

/** A route's answer as JSON, asked with the person's token. @throws {TunnelError} */
export async function ask<T>(access: Access, route: string, method = 'GET', body?: unknown): Promise<T> {
  const question = {
    route,
    method,
    body,
    token: access.token,
    timeoutMs: QUESTION_MS,
    fetch: await fetchOf(access),
  }
  return (await callProxy(addressesOf(access.urls), question)) as T
}

/** The same, where every replica of the proxy has to answer; and which have not, as a sentence. */
export async function askAll<T>(
  access: Access,
  route: string,
): Promise<{ answer: T; gap: string | undefined }> {
  const question = { route, token: access.token, timeoutMs: QUESTION_MS, fetch: await fetchOf(access) }
  const response = await fetchFromProxy(addressesOf(access.urls), question)
  const answer = (await answerOf(response)) as T
  const named = (header: string): string[] => {
    const names = response.headers.get(header)
    return names ? names.split(', ').map(decoded) : []
  }
  const missing = gapText(named('tunnel-replicas-missing'), Number(response.headers.get('tunnel-replicas')))
  const gaps = [missing, cutText(named('tunnel-replicas-cut'))].filter((text) => text !== undefined)
  return { answer, gap: gaps.length === 0 ? undefined : gaps.join('; ') }
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}

/** @param replicas how many there are; 0 where an older proxy does not say */
export function gapText(missing: readonly string[], replicas: number): string | undefined {
  if (missing.length === 0) return undefined
  const which = replicas > 0 ? `${missing.length} of ${replicas} replicas` : `replicas of the proxy`
  return `${which} did not answer: ${missing.join(', ')}`
}

function cutText(cut: readonly string[]): string | undefined {
  return cut.length === 0 ? undefined : `more than is shown here is at ${cut.join(', ')}`
}

/** A code with which `machine` gets its token. @throws {TunnelError} */
export function askCode(access: Access, machine: string): Promise<EnrolmentCode> {
  return ask(access, `machines/${encodeURIComponent(machine)}/enrolment`, 'POST')
}

/** A machine's token for a code; needs no token. @throws {TunnelError} TICKET_INVALID, RATE_LIMITED */
export async function exchangeCode(access: Access, code: string): Promise<EnrolledMachine> {
  const question = { route: 'enrolments', method: 'POST', body: { code }, timeoutMs: QUESTION_MS }
  const by = { ...question, fetch: await fetchOf(access) }
  const answer = (await callProxy(addressesOf(access.urls), by)) as EnrolledMachine
  // It names a file.
  if (typeof answer?.machine === 'string' && isMachineName(answer.machine)) return answer
  throw new TunnelError('CONNECT_REFUSED', 'what answers there is not a tunnel proxy', { hop: 'proxy' })
}

/** Where the proxy's users log in; needs no token. @throws {TunnelError} ROUTE_UNKNOWN where it names no issuer */
export async function askLoginPlace(access: Access): Promise<LoginPlace> {
  const question = { route: 'auth/login', timeoutMs: QUESTION_MS, fetch: await fetchOf(access) }
  try {
    return loginPlace(await callProxy(addressesOf(access.urls), question))
  } catch (error) {
    const { code, fromPeer, message, hop } = error as TunnelError
    if (code !== 'ROUTE_UNKNOWN' || !fromPeer) throw error
    const suggestion = 'ask the operator for one, and keep it with `tunnel use NAME --url URL --token-file -`'
    throw new TunnelError(code, message, { cause: error, hop, suggestion })
  }
}

/** What a proxy has said of where to log in, and nothing beside it: it is kept. @throws {TunnelError} CONNECT_REFUSED */
function loginPlace(told: unknown): LoginPlace {
  const { issuer, clientId, scope, audience } = (told ?? {}) as Record<string, unknown>
  if (typeof issuer === 'string' && typeof clientId === 'string' && URL.canParse(issuer))
    if (typeof scope === 'string' && typeof audience === 'string')
      return { issuer, clientId, scope, audience }
  const message = 'what answers there names no place to log in at, as a tunnel proxy would'
  throw new TunnelError('CONNECT_REFUSED', message, { hop: 'proxy' })
}

/** Ends the token with its links and streams. @throws {TunnelError} */
export async function revokeOwnToken(access: Access): Promise<void> {
  const question = {
    route: 'auth/revoke',
    method: 'POST',
    token: access.token,
    body: {},
    timeoutMs: QUESTION_MS,
  }
  await callProxy(addressesOf(access.urls), { ...question, fetch: await fetchOf(access) })
}

/** @throws {TunnelError} */
export async function askMachines(access: Access, timeoutMs = QUESTION_MS): Promise<Machine[]> {
  return listMachines(addressesOf(access.urls), access.token, timeoutMs, await fetchOf(access))
}

/** A route that asks for no token, whatever it answers. @throws {TunnelError} */
export async function fetchOpen(access: Access, route: string): Promise<Response> {
  const question = { route, timeoutMs: QUESTION_MS, fetch: await fetchOf(access) }
  return fetchFromProxy(addressesOf(access.urls), question)
}

/**
 * The names of the person's machines that can be names. They go into files and into lines of shells, and whoever has taken
 * over a proxy may send others. @throws {TunnelError}
 */
export async function askMachineNames(access: Access, timeoutMs = QUESTION_MS): Promise<string[]> {
  const machines = await askMachines(access, timeoutMs)
  const names = machines.map(({ name }) => name)
  return [...new Set(names)].filter((name) => typeof name === 'string' && isMachineName(name))
}

/** The public SSH key with which the proxy logs in for the caller. @throws {TunnelError} */
export async function askKey(access: Access): Promise<string> {
  return askPublicKey(addressesOf(access.urls), access.token, QUESTION_MS, await fetchOf(access))
}
