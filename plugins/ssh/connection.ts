import type { Duplex, Readable } from 'node:stream'
import type { Client, ClientChannel, PseudoTtyOptions } from 'ssh2'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { Terminal } from '../../protocol/codec/heads.ts'
import {
  aborted,
  channelTimeout,
  connectionLost,
  isFull,
  readsTooSlowly,
  sessionRefused,
  targetRefused,
} from './errors.ts'

/** ssh2's channels say here what they have had from the peer; its types leave it out. */
type ChannelWithState = ClientChannel & {
  incoming: { state: 'open' | 'eof' | 'closed'; window: number }
  outgoing: { window: number }
}

/** What a server may let us send ahead on one channel, in bytes: OpenSSH's own window. */
const MAX_WINDOW_BYTES = 2_097_152
/** What of all channels may wait for whoever reads them, in bytes: as much as 16 have that are not read at all. */
const MAX_UNREAD_BYTES = 33_554_432
/** What may wait for a server that reads nothing, in bytes: all channels' windows, and their headers. */
const MAX_UNSENT_BYTES = 33_554_432

export interface ChannelOptions {
  /** How long sshd may take to answer, in ms. */
  timeoutMs: number
  signal?: AbortSignal
}

/** How a command ended: its status, or the signal's name without SIG (RFC 4254, section 6.10). */
export type CommandExit = { code: number } | { signal: string }

/** A command or a shell that runs: its stdin and stdout, and beside them what SSH has for it. */
export interface CommandChannel extends Duplex {
  readonly stderr: Readable
  /** @param name without SIG (RFC 4254, section 6.9); nothing is sent after the end of stdin */
  signal(name: string): void
  /** The terminal has another size now, in characters, then in pixels (0: not known); nothing is sent after the end of stdin. */
  setWindow(rows: number, columns: number, height: number, width: number): void
}

interface CommandOptions extends ChannelOptions {
  /** Told how it ended, if sshd says so. */
  onExit?: (exit: CommandExit) => void
}

type Start = (done: (error: Error | undefined, channel: ClientChannel) => void) => void

/** Does `open`, which opens a channel, and may tell of it. */
export type Opening = <Channel>(open: () => Promise<Channel>) => Promise<Channel>

/** One SSH connection that is authenticated, and the channels on it. */
export class SSHConnection {
  readonly machine: string
  readonly #client: Client
  readonly #socket: Duplex
  readonly #probeMs: number
  readonly #opening: Opening
  readonly #channels = new Set<ClientChannel>()
  readonly #closeListeners: ((error: TunnelError | undefined) => void)[] = []
  #cause: unknown
  #ended = false
  #closed = false
  #lost: TunnelError | undefined
  #probe: NodeJS.Timeout | undefined

  /**
   * `socket` is what `client` runs over; both are this connection's from here on.
   * @param probeMs how long a server that is asked whether it is there may take
   * @param opening opens each channel, and may tell of it
   */
  constructor(
    machine: string,
    client: Client,
    socket: Duplex,
    probeMs: number,
    opening: Opening = (open) => open(),
  ) {
    this.#opening = opening
    this.machine = machine
    this.#probeMs = probeMs
    this.#client = client
    this.#socket = socket
    client.on('error', (error) => {
      this.#cause ??= error
      socket.destroy()
    })
    // Behind ssh2's own listener: each time it has dealt with what came.
    socket.on('data', () => this.#holdToWindows())
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
  exec(command: string, options: CommandOptions): Promise<CommandChannel> {
    return this.#session(
      'run the command',
      options,
      (done) => this.#client.exec(command, done),
      options.onExit,
    )
  }

  /** The user's login shell, on a terminal where one is given. */
  shell(terminal: Terminal | undefined, options: CommandOptions): Promise<CommandChannel> {
    const window = terminal === undefined ? false : windowOf(terminal)
    return this.#session('start a shell', options, (done) => this.#client.shell(window, done), options.onExit)
  }

  /** The bytes of the sftp subsystem. */
  sftp(options: ChannelOptions): Promise<Duplex> {
    return this.#session('offer sftp', options, (done) => this.#client.subsys('sftp', done))
  }

  /** @param does what the machine's sshd is asked for, as the end of "the machine does not …" */
  #session(
    does: string,
    options: ChannelOptions,
    start: Start,
    onExit?: (exit: CommandExit) => void,
  ): Promise<ClientChannel> {
    return this.#open(
      `${this.machine}'s sshd`,
      options,
      (done) =>
        start((error, channel) => {
          // Here and not later: a short command's status may come in the same packet as the answer.
          channel?.on('exit', (code: number | null, signal?: string) => onExit?.(exitOf(code, signal)))
          done(error, channel)
        }),
      (cause) => sessionRefused(this.machine, does, cause),
    )
  }

  /**
   * Something on it took too long: asks the server whether it is there, and closes the connection as lost where nothing
   * comes. Keep-alives would find that out too, minutes later.
   */
  probe(): void {
    if (this.#closed || this.#probe !== undefined) return
    const silent = (): void => this.#break('says nothing any more')
    this.#probe = setTimeout(silent, this.#probeMs).unref()
    this.#socket.once('data', () => {
      clearTimeout(this.#probe)
      this.#probe = undefined
    })
    // Every server has to answer a global request (RFC 4254, section 4); this one asks for the end of what is not there.
    this.#client.unforwardIn('127.0.0.1', 1, () => {})
  }

  /** Whether `openTcp` or one of the others threw `error` because the server takes no further channel now; nothing was run. */
  isFull(error: unknown): boolean {
    return isFull(error)
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
    options: ChannelOptions,
    start: Start,
    refusal: (cause: unknown) => TunnelError,
  ): Promise<ClientChannel> {
    return this.#opening(() => this.#openNow(what, options, start, refusal))
  }

  #openNow(
    what: string,
    { timeoutMs, signal }: ChannelOptions,
    start: Start,
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

  /** ssh2 lets a server send beyond its window, and grant one without end: memory would be the machine's to fill. */
  #holdToWindows(): void {
    let unreadBytes = 0
    for (const channel of this.#channels) {
      const { incoming, outgoing } = channel as ChannelWithState
      unreadBytes += channel.readableLength
      if (incoming.window < 0) return this.#break(`sends more than its window allows`)
      if (outgoing.window > MAX_WINDOW_BYTES) outgoing.window = MAX_WINDOW_BYTES
    }
    if (unreadBytes > MAX_UNREAD_BYTES) this.#endSlowest()
    if (this.#socket.writableLength > MAX_UNSENT_BYTES) this.#break('grants windows and reads nothing')
  }

  /** Each channel's window is large, and a connection has many: what nobody reads is bounded over all of them. */
  #endSlowest(): void {
    let slowest: ClientChannel | undefined
    for (const channel of this.#channels)
      if (channel.readableLength > (slowest?.readableLength ?? 0)) slowest = channel
    slowest?.emit('error', readsTooSlowly(this.machine, MAX_UNREAD_BYTES))
    // What it holds is let go at once, whenever the server says that it is closed.
    slowest?.destroy().resume()
  }

  #break(what: string): void {
    this.#cause ??= new Error(`the SSH server ${what}`)
    this.#socket.destroy()
  }

  #adopt(channel: ClientChannel): ClientChannel {
    this.#channels.add(channel)
    channel.on('close', () => this.#channels.delete(channel))
    // The channel's user adds a listener too; without any, an 'error' would end the process.
    channel.on('error', () => {})
    return channel
  }

  #onClose(): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#probe)
    if (!this.#ended) this.#lost = connectionLost(this.machine, this.#cause)
    for (const channel of this.#channels) {
      const hadEnd = (channel as ChannelWithState).incoming.state !== 'open'
      if (!hadEnd) channel.emit('error', this.#lost ?? aborted(`the connection to ${this.machine}`))
    }
    this.#client.end()
    for (const listener of this.#closeListeners.splice(0)) listener(this.#lost)
  }
}

/** Without a size in pixels, which nobody asks for, and with the modes that the far side gives a terminal. */
function windowOf({ term, columns, rows }: Terminal): PseudoTtyOptions {
  return { term, cols: columns, rows, height: 0, width: 0 }
}

/** What a machine may call a signal; it comes from its sshd, unchecked. */
const SIGNAL_NAME = /^[A-Za-z0-9@._-]{1,64}$/

function exitOf(code: number | null, signal: string | undefined): CommandExit {
  if (code !== null) return { code }
  const name = signal?.replace(/^SIG/, '') ?? ''
  return { signal: SIGNAL_NAME.test(name) ? name : 'KILL' }
}
