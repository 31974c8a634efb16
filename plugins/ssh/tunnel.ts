import type { Duplex } from 'node:stream'
import { Client, type ConnectConfig } from 'ssh2'
import { asTunnelError, TunnelError } from '../../protocol/codec/errors.ts'
import type { Route } from '../machines/index.ts'
import { type Opening, SSHConnection } from './connection.ts'
import {
  aborted,
  authRefused,
  connectTimeout,
  handshakeFailed,
  hostKeyChanged,
  noHostKeyKnown,
} from './errors.ts'
import { type IdentifiedKey, secretsOf, userKeys } from './keys.ts'
import type { AskName } from './known-names.ts'
import type { SshOptions } from './options.ts'
import { hostKeyAlgorithms, isPinned, type Pin, parsePins } from './pins.ts'

export interface SshConnectRequest {
  userId: string
  route: Route
  signal?: AbortSignal
  /** Time between keep-alives on a quiet connection, in ms; 0 sends none. @default 60_000 */
  keepAliveMs?: number
  /** Told when the machine knows a key of a former master secret alone. */
  onFormerKey?: (keyId: string) => void
}

/** Unanswered keep-alives after which a connection is dead. */
const KEEP_ALIVE_COUNT = 3
const MAX_KEYS = 1_000
/** For ciphers that do not authenticate by themselves, which GCM does. Dropbear has only the last. */
const MACS = ['hmac-sha2-256-etm@openssh.com', 'hmac-sha2-512-etm@openssh.com', 'hmac-sha2-256']

/** Makes SSH connections over whatever leads to a machine, with a key of its own for each user. */
export class SSHTunnelManager {
  readonly #options: SshOptions
  readonly #opening: Opening | undefined
  readonly #secrets: readonly string[]
  readonly #keys = new Map<string, IdentifiedKey[]>()

  /** @param opening opens each channel, and may tell of it */
  constructor(options: SshOptions, opening?: Opening) {
    this.#options = options
    this.#opening = opening
    this.#secrets = secretsOf(options.masterSecret)
  }

  /** What a machine has to let in: lines for authorized_keys, that of the newest master secret first. */
  publicKeys(userId: string): { publicKey: string; keyId: string }[] {
    return this.#keysOf(userId).map(({ publicKey, keyId }) => ({ publicKey, keyId }))
  }

  /**
   * Throws SSH_HANDSHAKE_FAILED, SSH_AUTH_FAILED, HOST_KEY_CHANGED, TIMEOUT, ABORTED, or what leads to the machine
   * throws.
   */
  async connect(request: SshConnectRequest): Promise<SSHConnection> {
    const { route } = request
    const { connectTimeoutMs } = this.#options
    const pins = parsePins(await route.hostKeys())
    if (pins.length === 0) throw noHostKeyKnown(route.name)

    const deadline = new AbortController()
    const expire = (): void => deadline.abort(connectTimeout(route.name, connectTimeoutMs))
    const giveUp = (): void => deadline.abort(aborted(`the connection to ${route.name}`))
    const timer = setTimeout(expire, connectTimeoutMs).unref()
    request.signal?.addEventListener('abort', giveUp, { once: true })
    if (request.signal?.aborted === true) giveUp()
    try {
      const socket = await this.#dial(route, deadline.signal)
      return await this.#login(request, pins, socket, deadline.signal)
    } finally {
      clearTimeout(timer)
      request.signal?.removeEventListener('abort', giveUp)
    }
  }

  /** The way to the machine; one that comes after the deadline is closed. */
  #dial(route: Route, deadline: AbortSignal): Promise<Duplex> {
    const dialling = route.dial()
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(deadline.reason)
      deadline.addEventListener('abort', onAbort, { once: true })
      dialling.then(
        (socket) => {
          deadline.removeEventListener('abort', onAbort)
          if (deadline.aborted) socket.on('error', () => {}).destroy()
          else resolve(socket)
        },
        (error: unknown) => {
          deadline.removeEventListener('abort', onAbort)
          reject(asTunnelError(error, 'ssh', 'CONNECT_REFUSED'))
        },
      )
    })
  }

  #login(
    request: SshConnectRequest,
    pins: readonly Pin[],
    socket: Duplex,
    deadline: AbortSignal,
  ): Promise<SSHConnection> {
    const { route } = request
    const client = new Client()
    return new Promise((resolve, reject) => {
      let cause: unknown
      let wrongKey: Buffer | undefined
      let handshakeDone = false
      const keys = this.#keysOf(request.userId)
      let offered = 0
      const fail = (error: TunnelError): void => {
        stopListening()
        client.on('error', () => {})
        socket.on('error', () => {}).destroy()
        reject(error)
      }
      const onAbort = (): void => fail(deadline.reason as TunnelError)
      const onError = (error: Error & { level?: string }): void => {
        cause ??= error
        if (wrongKey !== undefined) fail(hostKeyChanged(route.name, wrongKey, pins))
        else if (cause instanceof TunnelError) fail(cause)
        else if (error.level === 'client-authentication' || (handshakeDone && error.level === undefined)) {
          fail(authRefused(route.name, route.sshUser, error))
        } else fail(handshakeFailed(route.name, error))
      }
      const onClose = (): void => fail(handshakeFailed(route.name, cause))
      const stopListening = (): void => {
        deadline.removeEventListener('abort', onAbort)
        client
          .removeListener('error', onError)
          .removeListener('close', onClose)
          .removeListener('end', onClose)
      }
      deadline.addEventListener('abort', onAbort, { once: true })
      client.on('error', onError).on('close', onClose).on('end', onClose)
      client.once('handshake', () => {
        handshakeDone = true
      })
      client.once('ready', () => {
        stopListening()
        if (offered > 1) request.onFormerKey?.(keys[offered - 1]?.keyId ?? '')
        const { connectTimeoutMs } = this.#options
        const askName: AskName = (name, signal) => route.lookup(name, signal)
        resolve(new SSHConnection(route.name, client, socket, connectTimeoutMs, askName, this.#opening))
      })
      if (deadline.aborted) return onAbort()
      client.connect(
        this.#config(request, pins, socket, {
          nextKey: () => keys[offered++]?.privateKey,
          wrongHostKey: (key) => {
            wrongKey = key
            route.hostKeyShown(key)
          },
        }),
      )
    })
  }

  #config(
    request: SshConnectRequest,
    pins: readonly Pin[],
    sock: Duplex,
    { nextKey, wrongHostKey }: { nextKey: () => string | undefined; wrongHostKey: (key: Buffer) => void },
  ): ConnectConfig {
    const { sshUser: username } = request.route
    const { algorithms, compression } = this.#options
    return {
      // ssh2 reads a duplex; its types ask for a Readable, which every duplex is.
      sock,
      username,
      authHandler: (_left, _partial, next) => {
        const key = nextKey()
        next((key === undefined ? false : { type: 'publickey', username, key }) as never)
      },
      // The deadline of `connect` covers this and more.
      readyTimeout: 0,
      keepaliveInterval: request.keepAliveMs ?? 60_000,
      keepaliveCountMax: KEEP_ALIVE_COUNT,
      hostVerifier: (key: Buffer) => {
        if (isPinned(pins, key)) return true
        wrongHostKey(key)
        return false
      },
      // Checked at the start against what ssh2 knows (algorithms.ts).
      algorithms: {
        kex: algorithms.kex,
        cipher: algorithms.cipher,
        hmac: MACS,
        serverHostKey: hostKeyAlgorithms(pins),
        compress: compression ? ['zlib@openssh.com', 'none'] : ['none'],
      } as NonNullable<ConnectConfig['algorithms']>,
    }
  }

  #keysOf(userId: string): IdentifiedKey[] {
    let keys = this.#keys.get(userId)
    if (keys === undefined) {
      keys = userKeys(this.#secrets, userId)
      if (this.#keys.size >= MAX_KEYS) this.#keys.clear()
      this.#keys.set(userId, keys)
    }
    return keys
  }
}
