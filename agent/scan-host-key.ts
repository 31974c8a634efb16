import { Client } from 'ssh2'
import { keyTypeOf } from '../protocol/node/host-keys.ts'

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
 * The public host key that the SSH server at `host:port` shows, as `ssh-ed25519 AAAA…`; undefined when nobody answers.
 * @param before the key that it showed before: one of the same type is asked for first
 */
export function scanHostKey(host: string, port: number, before?: string): Promise<string | undefined> {
  const type = before?.split(' ', 1)[0]
  const isSame = (algorithm: string) =>
    type === 'ssh-rsa' ? algorithm.startsWith('rsa-') : algorithm === type
  const serverHostKey = [...ALGORITHMS].sort((a, b) => Number(isSame(b)) - Number(isSame(a)))
  return new Promise((resolve) => {
    const client = new Client()
    client.on('error', () => resolve(undefined))
    client.on('close', () => resolve(undefined))
    client.connect({
      host,
      port,
      username: 'host-key-scan',
      readyTimeout: TIMEOUT_MS,
      algorithms: { serverHostKey },
      // The key is all that is wanted: the handshake ends when it is there.
      hostVerifier: (key: Buffer) => {
        resolve(`${keyTypeOf(key)} ${key.toString('base64')}`)
        return false
      },
    })
  })
}
