import type { Duplex } from 'node:stream'
import type { Client, ClientChannel } from 'ssh2'
import type { TunnelError } from '../../protocol/errors.ts'
import { aborted, channelTimeout, connectionLost, sessionRefused, targetRefused } from './errors.ts'

/** ssh2's channels say here what they have had from the peer; its types leave it out. */
type ChannelWithState = ClientChannel & { incoming: { state: 'open' | 'eof' | 'closed' } }

export interface ChannelOptions {
  /** How long sshd may take to answer, in ms. */
  timeoutMs: number
  signal?: AbortSignal
}

/** One SSH connection that is authenticated, and the channels on it. */
export class SSHConnection {
  readonly machine: string
  readonly #client: Client
  readonly #socket: Duplex
  readonly #channels = new Set<ClientChannel>()
  readonly #closeListeners: ((error: TunnelError | undefined) => void)[] = []
  #cause: unknown
  #ended = false
  #closed = false
  #lost: TunnelError | undefined

  /** `socket` is what `client` runs over; both are this connection's from here on. */
  constructor(machine: string, client: Client, socket: Duplex) {
    this.machine = machine
    this.#client = client
    this.#socket = socket
    client.on('error', (error) => {
      this.#cause ??= error
      socket.destroy()
    })
    // The peer's end of the socket is the connection's end; ssh2 itself would wait for more.
    socket.on('end', () => socket.destroy())
    // Before ssh2's own listener, which ends every channel as if its peer had: a cut must not look like an end.
    socket.prependListener('close', () => this.#onClose())
    if (socket.destroyed) this.#onClose()
  }

  /** Channels that are open. */
  get channels(): number {
    return this.#channels.size
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Called once, with the reason unless `end` was called; at once where the connection has closed already. */
  onClose(listener: (error: TunnelError | undefined) => void): void {
    if (this.#closed) listener(this.#lost)
    else this.#closeListeners.push(listener)
  }

  /** A TCP connection that the machine's sshd makes. Throws CONNECT_REFUSED, POLICY_DENIED, CHANNEL_OPEN_FAILED, TIMEOUT. */
  openTcp(host: string, port: number, options: ChannelOptions): Promise<Duplex> {
    const target = `${host}:${port}`
    return this.#open(
      target,
      options,
      (done) => this.#client.forwardOut('127.0.0.1', 0, host, port, done),
      (cause) => targetRefused(target, cause),
    )
  }

  /** One command line, run by the user's shell on the machine. */
  exec(command: string, options: ChannelOptions): Promise<ClientChannel> {
    return this.#open(
      `${this.machine}'s sshd`,
      options,
      (done) => this.#client.exec(command, done),
      (cause) => sessionRefused(this.machine, cause),
    )
  }

  /** Closes the connection and its channels. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#client.end()
    this.#socket.destroy()
  }

  #open(
    what: string,
    { timeoutMs, signal }: ChannelOptions,
    start: (done: (error: Error | undefined, channel: ClientChannel) => void) => void,
    refusal: (cause: unknown) => TunnelError,
  ): Promise<ClientChannel> {
    return new Promise((resolve, reject) => {
      let settled = false
      const settle = (error: TunnelError | undefined, channel?: ClientChannel): void => {
        if (settled) {
          channel?.destroy()
          return
        }
        settled = true
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
        if (channel === undefined) reject(error)
        else resolve(channel)
      }
      const onAbort = (): void => settle(aborted(what))
      const timer = setTimeout(() => settle(channelTimeout(what, timeoutMs)), timeoutMs).unref()
      if (this.#closed) return settle(this.#lost ?? connectionLost(this.machine, undefined))
      if (signal?.aborted === true) return onAbort()
      signal?.addEventListener('abort', onAbort, { once: true })
      try {
        start((error, channel) => {
          if (error !== undefined) settle(this.#lost ?? refusal(error))
          else settle(undefined, this.#adopt(channel))
        })
      } catch (error) {
        settle(connectionLost(this.machine, error))
      }
    })
  }

  #adopt(channel: ClientChannel): ClientChannel {
    this.#channels.add(channel)
    channel.on('close', () => this.#channels.delete(channel))
    // Whoever uses the channel listens too; this keeps one that nobody listens to from ending the process.
    channel.on('error', () => {})
    return channel
  }

  #onClose(): void {
    if (this.#closed) return
    this.#closed = true
    if (!this.#ended) this.#lost = connectionLost(this.machine, this.#cause)
    for (const channel of this.#channels) {
      const hadEnd = (channel as ChannelWithState).incoming.state !== 'open'
      if (!hadEnd) channel.emit('error', this.#lost ?? aborted(`the connection to ${this.machine}`))
    }
    this.#client.end()
    for (const listener of this.#closeListeners.splice(0)) listener(this.#lost)
  }
}
