import { spawnSync } from 'node:child_process'
import { isIP } from 'node:net'
import { connect, type EphemeralKeyInfo } from 'node:tls'

export interface TlsFacts {
  version: string
  cipher: string
  /** What the keys were agreed on with, such as X25519. */
  group: string
}

/** How long the handshake may take, in ms: it is one line of many. */
const HANDSHAKE_MS = 5_000

/** How this computer and the proxy at `url` speak TLS; undefined without TLS, or where it could not be tried. */
export function tlsOf(url: string): Promise<TlsFacts | undefined> {
  const { protocol, hostname, port } = new URL(url)
  if (protocol !== 'https:' && protocol !== 'wss:') return Promise.resolve(undefined)
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  return new Promise((resolve) => {
    const name = isIP(host) === 0 ? { servername: host } : {}
    const socket = connect({ host, port: Number(port || 443), ALPNProtocols: ['http/1.1'], ...name })
    const end = (facts?: TlsFacts): void => {
      resolve(facts)
      socket.destroy()
    }
    socket.setTimeout(HANDSHAKE_MS, () => end())
    socket.once('error', () => end())
    socket.once('secureConnect', () => {
      const { name: group } = (socket.getEphemeralKeyInfo() ?? {}) as EphemeralKeyInfo
      const { standardName, name: cipher } = socket.getCipher()
      end({ version: socket.getProtocol() ?? '', cipher: standardName ?? cipher, group: group ?? 'unknown' })
    })
  })
}

const POST_QUANTUM = /^(mlkem|sntrup)/

/** Key exchanges of this computer's ssh that a quantum computer does not break; undefined where there is no ssh. */
export function postQuantumKex(): string[] | undefined {
  const { stdout, status } = spawnSync('ssh', ['-Q', 'kex'], { encoding: 'utf8' })
  return status === 0 ? stdout.split('\n').filter((name) => POST_QUANTUM.test(name)) : undefined
}
