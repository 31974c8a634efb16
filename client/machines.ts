import type { ProxyAddress } from '../dial/addresses.ts'
import { callProxy } from '../dial/api.ts'
import type { Machine } from '../dial/machine.ts'
import type { TokenProvider } from '../dial/token.ts'
import { TunnelError } from '../protocol/codec/errors.ts'
import type { Fetch } from '../protocol/link/transport.ts'

export type { Machine } from '../dial/machine.ts'

/** @throws {TunnelError} */
export async function listMachines(
  addresses: readonly ProxyAddress[],
  token: TokenProvider,
  timeoutMs: number,
  fetch?: Fetch,
): Promise<Machine[]> {
  const list = await callProxy(addresses, { route: 'machines', token, timeoutMs, fetch })
  if (!Array.isArray(list))
    throw new TunnelError('CONNECT_REFUSED', 'what answers there is not a tunnel proxy', { hop: 'proxy' })
  return list as Machine[]
}
