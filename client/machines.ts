import { asTunnelError, errorFromWire, isErrorCode, TunnelError } from '../protocol/errors.ts'
import type { ProxyAddress } from './addresses.ts'
import { askToken, type TokenProvider } from './token.ts'

/** A machine of the caller's, as the proxy tells it. */
export interface Machine {
  name: string
  online: boolean
  source: 'agent' | 'configured'
  sshUser: string
  /** On line since then, ISO 8601. */
  since?: string
  agentVersion?: string
  hostKeys: { type: string; fingerprint: string }[]
  /** It showed another host key than the pinned one, and waits for its owner's word. */
  hostKeyChanged: boolean
}

/** A route of the proxy, from the first address that answers. @throws {TunnelError} */
export async function getFromProxy(
  addresses: readonly ProxyAddress[],
  provider: TokenProvider,
  route: string,
  timeoutMs: number,
): Promise<unknown> {
  let last: TunnelError | undefined
  for (const { api } of addresses) {
    try {
      return await getOnce(`${api}/${route}`, await askToken(provider), timeoutMs)
    } catch (error) {
      last = asTunnelError(error)
      if (last.category !== 'network') throw last
    }
  }
  throw last
}

async function getOnce(url: string, token: string, timeoutMs: number): Promise<unknown> {
  let response: Response
  try {
    response = await fetch(url, {
      headers: { authorization: `Bearer ${token}`, accept: 'application/json' },
      signal: AbortSignal.timeout(timeoutMs),
    })
  } catch (error) {
    const code = (error as Error).name === 'TimeoutError' ? 'TIMEOUT' : 'CONNECT_REFUSED'
    throw new TunnelError(code, `${url} does not answer`, { cause: error, hop: 'proxy' })
  }
  const body: unknown = await response.json().catch(() => undefined)
  if (response.ok) return body
  const problem = (body ?? {}) as Record<string, unknown>
  if (isErrorCode(problem.code))
    throw errorFromWire({ hop: 'proxy', ...problem, message: problem.detail ?? problem.title })
  throw new TunnelError('CONNECT_REFUSED', `${url} answered ${response.status}, it is no tunnel proxy`, {
    hop: 'proxy',
  })
}

/** @throws {TunnelError} */
export async function listMachines(
  addresses: readonly ProxyAddress[],
  provider: TokenProvider,
  timeoutMs: number,
): Promise<Machine[]> {
  const body = await getFromProxy(addresses, provider, 'machines', timeoutMs)
  const list = Array.isArray(body) ? body : (body as { machines?: unknown } | undefined)?.machines
  if (!Array.isArray(list))
    throw new TunnelError('INTERNAL', 'the proxy gave no list of machines', { hop: 'proxy' })
  return list as Machine[]
}
