import type { Duplex } from 'node:stream'
import { Client, type ConnectConfig } from 'ssh2'
import { asTunnelError, TunnelError } from '../../protocol/codec/errors.ts'
import { SSHConnection } from './connection.ts'
import {
  aborted,
  authRefused,
  connectTimeout,
  handshakeFailed,
  hostKeyChanged,
  noHostKeyKnown,
} from './errors.ts'
import { hostKeyAlgorithms, isPinned, type Pin, parsePins } from './host-keys.ts'
import { deriveUserKey, type UserKey } from './keys.ts'
import type { SshOptions } from './options.ts'

/** What is needed of a machine to log in. */
export interface SshMachine {
  owner: string
  name: string
  sshUser: string
}

/** What is needed of the plugin machines. */
export interface MachineAccess {
  connect(owner: string, name: string, request: { kind: 'ssh' }): Promise<Duplex>
  hostKeys(owner: string, name: string): Promise<string[]>
  /** A key that is not pinned was shown: its owner may want to trust it. */
  hostKeyShown?(owner: string, name: string, key: Buffer): void
}

export interface SshConnectRequest {
  userId: string
  machine: SshMachine
  signal?: AbortSignal
  /** Between keep-alives on a quiet connection, in ms; 0 sends none. @default 60_000 */
  keepAliveMs?: number
}

/** Unanswered keep-alives after which a connection is dead. */
const KEEP_ALIVE_COUNT = 3
const MAX_KEYS = 1_000

/** Makes SSH connections over whatever leads to a machine, each user with his own key. */
export class SSHTunnelManager {
  readonly #options: SshOptions
  readonly #machines: () => MachineAccess
  readonly #keys = new Map<string, UserKey>()

  /** `machines` is asked for at each connection, so that a custom plugin may replace it after this one. */
  constructor(options: SshOptions, machines: () => MachineAccess) {
    this.#options = options
    this.#machines = machines
  }

  /** One line for authorized_keys. */
  publicKey(userId: string): string {
    return this.#key(userId).publicKey
  }

  /**
   * Throws SSH_HANDSHAKE_FAILED, SSH_AUTH_FAILED, HOST_KEY_CHANGED, TIMEOUT, ABORTED, or what leads to the machine
   * throws.
   */
  async connect(request: SshConnectRequest): Promise<SSHConnection> {
    const { machine } = request
    const { connectTimeoutMs } = this.#options
    const pins = parsePins(await this.#machines().hostKeys(machine.owner, machine.name))
    if (pins.length === 0) throw noHostKeyKnown(machine.name)

    const deadline = new AbortController()
    const expire = (): void => deadline.abort(connectTimeout(machine.name, connectTimeoutMs))
    const giveUp = (): void => deadline.abort(aborted(`the connection to ${machine.name}`))
    const timer = setTimeout(expire, connectTimeoutMs).unref()
    request.signal?.addEventListener('abort', giveUp, { once: true })
    if (request.signal?.aborted === true) giveUp()
    try {
      const socket = await this.#dial(machine, deadline.signal)
      return await this.#login(request, pins, socket, deadline.signal)
    } finally {
      clearTimeout(timer)
      request.signal?.removeEventListener('abort', giveUp)
    }
  }

  /** The way to the machine; one that comes after the deadline is closed. */
  #dial(machine: SshMachine, deadline: AbortSignal): Promise<Duplex> {
    const dialling = this.#machines().connect(machine.owner, machine.name, { kind: 'ssh' })
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
          reject(asTunnelError(error, 'CONNECT_REFUSED', 'ssh'))
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
    const { machine } = request
    const client = new Client()
    return new Promise((resolve, reject) => {
      let cause: unknown
      let wrongKey: Buffer | undefined
      let handshakeDone = false
      const fail = (error: TunnelError): void => {
        stopListening()
        client.on('error', () => {})
        socket.on('error', () => {}).destroy()
        reject(error)
      }
      const onAbort = (): void => fail(deadline.reason as TunnelError)
      const onError = (error: Error & { level?: string }): void => {
        cause ??= error
        if (wrongKey !== undefined) fail(hostKeyChanged(machine.name, wrongKey, pins))
        else if (cause instanceof TunnelError) fail(cause)
        else if (error.level === 'client-authentication' || (handshakeDone && error.level === undefined)) {
          fail(authRefused(machine.name, machine.sshUser, error))
        } else fail(handshakeFailed(machine.name, error))
      }
      const onClose = (): void => fail(handshakeFailed(machine.name, cause))
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
        resolve(new SSHConnection(machine.name, client, socket))
      })
      if (deadline.aborted) return onAbort()
      client.connect(
        this.#config(request, pins, socket, (key) => {
          wrongKey = key
          this.#machines().hostKeyShown?.(machine.owner, machine.name, key)
        }),
      )
    })
  }

  #config(
    request: SshConnectRequest,
    pins: readonly Pin[],
    sock: Duplex,
    onWrongKey: (key: Buffer) => void,
  ): ConnectConfig {
    const { algorithms, compression } = this.#options
    return {
      // ssh2 reads a duplex; its types ask for a Readable, which every duplex is.
      sock,
      username: request.machine.sshUser,
      privateKey: this.#key(request.userId).privateKey,
      authHandler: ['publickey'],
      // The deadline of `connect` covers this and more.
      readyTimeout: 0,
      keepaliveInterval: request.keepAliveMs ?? 60_000,
      keepaliveCountMax: KEEP_ALIVE_COUNT,
      hostVerifier: (key: Buffer) => {
        if (isPinned(pins, key)) return true
        onWrongKey(key)
        return false
      },
      // Checked at the start against what ssh2 knows (algorithms.ts).
      algorithms: {
        kex: algorithms.kex,
        cipher: algorithms.cipher,
        serverHostKey: hostKeyAlgorithms(pins),
        compress: compression ? ['zlib@openssh.com', 'none'] : ['none'],
      } as NonNullable<ConnectConfig['algorithms']>,
    }
  }

  #key(userId: string): UserKey {
    let key = this.#keys.get(userId)
    if (key === undefined) {
      key = deriveUserKey(this.#options.masterSecret, userId)
      if (this.#keys.size >= MAX_KEYS) this.#keys.clear()
      this.#keys.set(userId, key)
    }
    return key
  }
}
