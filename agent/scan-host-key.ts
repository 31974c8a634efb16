import { Client } from 'ssh2'
import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import type { Target } from '../protocol/codec/target.ts'
import { keyTypeOf } from '../protocol/node/host-keys.ts'
import { dialTarget } from './dial.ts'

/**
 * The server shows the first of these that it has. One connection for a scan, although it shows one key alone: an SSH
 * server holds connections that never log in against their address, which the person's own ssh may share.
 */
const ALGORITHMS = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'rsa-sha2-512',
] as const
const TIMEOUT_MS = 5_000

/**
 * The public host key that the SSH server shows, as `ssh-ed25519 AAAA…`; undefined when nobody answers.
 * @param source the address of loopback to dial from
 * @param before the key that it showed before: one of the same type is asked for first
 */
export async function scanHostKey(
  ssh: Target,
  source: string | undefined,
  before?: string,
): Promise<string | undefined> {
  const type = before?.split(' ', 1)[0]
  const isSame = (algorithm: string) =>
    type === 'ssh-rsa' ? algorithm.startsWith('rsa-') : algorithm === type
  const serverHostKey = [...ALGORITHMS].sort((a, b) => Number(isSame(b)) - Number(isSame(a)))
  const sock = await dialTarget(ssh, source).catch((error: unknown) => asTunnelError(error, 'agent'))
  if (sock instanceof TunnelError) return undefined
  return new Promise((resolve) => {
    const client = new Client()
    const over = (hostKey?: string): void => {
      resolve(hostKey)
      sock.destroy()
    }
    client.on('error', () => over()).on('end', () => over())
    client.on('close', () => over())
    client.connect({
      sock,
      username: 'host-key-scan',
      readyTimeout: TIMEOUT_MS,
      algorithms: { serverHostKey },
      // The key is all that is wanted: the handshake ends when it is there.
      hostVerifier: (key: Buffer) => {
        over(`${keyTypeOf(key)} ${key.toString('base64')}`)
        return false
      },
    })
  })
}
