import { Client } from 'ssh2'

/** Each is asked for alone, so that the server shows its key of that type. */
const ALGORITHMS = ['ssh-ed25519', 'ecdsa-sha2-nistp256', 'rsa-sha2-512'] as const
const TIMEOUT_MS = 5_000

/** The public host keys that the SSH server at `host:port` shows, as `ssh-ed25519 AAAA…`; none when nobody answers. */
export async function scanHostKeys(host: string, port: number): Promise<string[]> {
  const keys = await Promise.all(ALGORITHMS.map((algorithm) => hostKey(host, port, algorithm)))
  return [...new Set(keys.filter((key) => key !== undefined))]
}

/** The key is all that is wanted: the handshake ends when it is there. */
function hostKey(
  host: string,
  port: number,
  algorithm: (typeof ALGORITHMS)[number],
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const client = new Client()
    client.on('error', () => resolve(undefined))
    client.on('close', () => resolve(undefined))
    client.connect({
      host,
      port,
      username: 'host-key-scan',
      readyTimeout: TIMEOUT_MS,
      algorithms: { serverHostKey: [algorithm] },
      hostVerifier: (key: Buffer) => {
        resolve(publicLine(key))
        return false
      },
    })
  })
}

/** A key's blob begins with its type as a length-prefixed string (RFC 4253, section 6.6). */
function publicLine(key: Buffer): string {
  const type = key.subarray(4, 4 + key.readUInt32BE(0)).toString('latin1')
  return `${type} ${key.toString('base64')}`
}
