import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Client, ClientChannel } from 'ssh2'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { ShellHead } from '../../protocol/codec/heads.ts'
import { Channels } from './channels.ts'
import { type CommandChannel, type CommandExit, exitOf, windowOf } from './command-channel.ts'
import { aborted, connectionLost, isFull, sessionRefused, targetRefused } from './errors.ts'
import { type AskName, KnownNames } from './known-names.ts'
import { openNamed, type TcpOptions } from './named-target.ts'
import { type ChannelOptions, openChannel, type Start } from './open-channel.ts'

/** What may wait for a server that reads nothing, in bytes: all channels' windows, and their headers. */
const MAX_UNSENT_BYTES = 33_554_432

interface CommandOptions extends ChannelOptions {
  /** Told how it ended, if sshd says so. */
  onExit?: (exit: CommandExit) => void
}

/** Does `open`, which opens a channel, and may tell of it. */
export type Opening = <Channel>(open: () => Promise<Channel>) => Promise<Channel>

/** One SSH connection that is authenticated, and the channels on it. */
export class SSHConnection {
  readonly machine: string
  readonly #client: Client
  readonly #socket: Duplex
  readonly #probeMs: number
  readonly #opening: Opening
  readonly #channels: Channels
  readonly #names: KnownNames
  readonly #closeListeners: ((error: TunnelError | undefined) => void)[] = []
  #cause: unknown
  #ended = false
  #closed = false
  #lost: TunnelError | undefined
  #probe: NodeJS.Timeout | undefined

  /**
   * `socket` is what `client` runs over; both are this connection's from here on.
   * @param probeMs how long a server that is asked whether it is there may take
   * @param askName says what a name stands for on the machine
   * @param opening opens each channel, and may tell of it
   */
  constructor(
    machine: string,
    client: Client,
    socket: Duplex,
    probeMs: number,
    askName: AskName,
    opening: Opening = (open) => open(),
  ) {
    this.#names = new KnownNames(askName)
    this.#opening = opening
    this.machine = machine
    this.#channels = new Channels(machine)
    this.#probeMs = probeMs
    this.#client = client
    this.#socket = socket
    client.on('error', (error) => {
      this.#cause ??= error
      socket.destroy()
    })
    // Behind ssh2's own listener: each time it has dealt with what came.
    socket.on('data', () => this.#holdToLimits())
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

  /**
   * A TCP connection that the machine's sshd makes. A name is resolved first, checked, and asked for by address: sshd would
   * connect to whatever it stands for by then. Throws CONNECT_REFUSED, POLICY_DENIED, CHANNEL_OPEN_FAILED, TIMEOUT, or
   * what `Route.lookup` throws.
   */
  openTcp(host: string, port: number, options: TcpOptions): Promise<Duplex> {
    if (isIP(host) !== 0 || host === 'localhost') return this.#openTcp(host, port, host, options)
    const target = { host, authority: `${host}:${port}` }
    return openNamed(target, options, this.#names, (to, its) => this.#openTcp(to, port, host, its))
  }

  /** @param named what whoever asked calls it */
  #openTcp(host: string, port: number, named: string, options: ChannelOptions): Promise<Duplex> {
    const target = `${named}:${port}`
    return this.#open(
      target,
      options,
      (done) => this.#client.forwardOut('127.0.0.1', 0, host, port, done),
      (cause) => targetRefused(target, cause, host !== named),
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
  shell({ terminal, env }: ShellHead, options: CommandOptions): Promise<CommandChannel> {
    const window = terminal === undefined ? false : windowOf(terminal)
    // Nobody is told whether sshd takes a variable: it mostly does not.
    const start: Start = (done) => this.#client.shell(window, env === undefined ? {} : { env }, done)
    return this.#session('start a shell', options, start, options.onExit)
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
    return this.#opening(() => {
      if (this.#closed) return Promise.reject(this.#lost ?? connectionLost(this.machine, undefined))
      return openChannel({
        ...options,
        what,
        start: (done) =>
          start((error, channel) => done(error, error === undefined ? this.#channels.add(channel) : channel)),
        refused: (cause) => this.#lost ?? refusal(cause),
        failed: (cause) => connectionLost(this.machine, cause),
      })
    })
  }

  #holdToLimits(): void {
    if (!this.#channels.holdToWindows()) this.#break('sends more than its window allows')
    else if (this.#socket.writableLength > MAX_UNSENT_BYTES) this.#break('grants windows and reads nothing')
  }

  #break(what: string): void {
    this.#cause ??= new Error(`the SSH server ${what}`)
    this.#socket.destroy()
  }

  #onClose(): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#probe)
    if (!this.#ended) this.#lost = connectionLost(this.machine, this.#cause)
    this.#channels.cut(this.#lost ?? aborted(`the connection to ${this.machine}`))
    this.#client.end()
    for (const listener of this.#closeListeners.splice(0)) listener(this.#lost)
  }
}
