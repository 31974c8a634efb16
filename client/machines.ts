import type { ProxyAddress } from '../dial/addresses.ts'
import { callProxy } from '../dial/api.ts'
import type { TokenProvider } from '../dial/token.ts'
import { TunnelError } from '../protocol/codec/errors.ts'

/** A machine of the caller's, as the proxy tells it. */
export interface Machine {
  name: string
  online: boolean
  source: 'agent' | 'configured'
  sshUser: string
  /** On line since then, ISO 8601. */
  since?: string
  agentVersion?: string
  /** Sealed streams and pooled SSH connections that its agent carries, and those that wait for it to come back. */
  streams?: { open: number; waiting: number }
  hostKeys: { type: string; fingerprint: string }[]
  /** It showed another host key than the pinned one, and waits for its owner's word. */
  hostKeyChanged: boolean
}

/** @throws {TunnelError} */
export async function listMachines(
  addresses: readonly ProxyAddress[],
  token: TokenProvider,
  timeoutMs: number,
): Promise<Machine[]> {
  const list = await callProxy(addresses, { route: 'machines', token, timeoutMs })
  if (!Array.isArray(list))
    throw new TunnelError('CONNECT_REFUSED', 'what answers there is not a tunnel proxy', { hop: 'proxy' })
  return list as Machine[]
}
