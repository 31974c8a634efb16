import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import type { Target } from '../protocol/codec/target.ts'
import { dialTarget } from './dial.ts'

/** How long the SSH server has to say what it is, in ms. */
const BANNER_MS = 2_000

/**
 * What the SSH server says it is (RFC 4253, section 4.2), such as `OpenSSH_9.2p1` or `dropbear_2022.83`; undefined when
 * nobody answers, or it is no SSH server.
 */
export async function sshSoftware(ssh: Target): Promise<string | undefined> {
  const socket = await dialTarget(ssh).catch((error: unknown) => asTunnelError(error, 'agent'))
  if (socket instanceof TunnelError) return undefined
  return new Promise((resolve) => {
    const over = (banner?: string): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(/^SSH-2\.0-(\S+)/.exec(banner ?? '')?.[1])
    }
    const timer = setTimeout(over, BANNER_MS)
    socket.once('data', (bytes: Buffer) => over(bytes.toString('latin1', 0, 255)))
    socket.once('error', () => over()).once('close', () => over())
  })
}
