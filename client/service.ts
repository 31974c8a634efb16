import type { TunnelError } from '../protocol/codec/errors.ts'
import type { StreamDuplex } from '../protocol/node/duplex.ts'
import type { Joined } from '../protocol/node/join.ts'
import type { DiagnosticOptions, DiagnosticReport } from './diagnostics/report.ts'
import { type ExecOptions, type ExecResult, exec } from './exec.ts'
import type { ForwardRequest } from './forward-request.ts'
import type { ForwardResponse } from './forward-response.ts'
import { type JoinEvents, joinStream } from './joined-stream.ts'
import { MetricsCollector } from './metrics/prometheus.ts'
import { platform as nodePlatform } from './node.ts'
import { configInvalid } from './queue/errors.ts'
import { cipherOf, toHandOver } from './queue/handed-over.ts'
import { openRawStream, type RawStream, type StreamOptions } from './raw-stream.ts'
import { SftpSession } from './sftp/session.ts'
import { openShell, type Shell, type ShellOptions } from './shell.ts'
import { inTrace, traced, tracedFetch, tracedRequest } from './tracing.ts'
import { TunnelClient } from './tunnel-client.ts'
import type { TunnelServiceOptions } from './tunnel-options.ts'

/** A client's way to its machines: one link to the proxy, and the streams on it, which outlive the link. For Node. */
export class TunnelService extends TunnelClient {
  declare readonly metrics: MetricsCollector
  /** Streams of `open` that are not over. */
  readonly #duplexes = new Set<StreamDuplex>()
  /** Sockets of `join` that are not closed. */
  readonly #joined = new Set<Joined>()

  /** @throws {TunnelError} CONFIG_INVALID for an address that is none */
  constructor(options: TunnelServiceOptions) {
    super(options, nodePlatform, (clock) => new MetricsCollector(clock))
  }

  /** As every client's, and as a part of the program's trace, where it has one. */
  override readonly fetch = tracedFetch((this as TunnelClient).fetch)

  override forwardRequest(request: ForwardRequest): Promise<ForwardResponse> {
    return tracedRequest(request, (traced) => super.forwardRequest(traced))
  }

  /** Runs a command: a shell's line, or words that the shell leaves as they are. @throws {TunnelError} */
  async exec(
    machine: string,
    command: string | readonly string[],
    options?: ExecOptions,
  ): Promise<ExecResult> {
    const { path, defaultTimeoutMs } = await this.way()
    return traced({ kind: 'exec', machine }, (trace) =>
      exec(path, defaultTimeoutMs, machine, command, inTrace(trace, options ?? {})),
    )
  }

  /** A byte stream; resolves when the far side has accepted. @throws {TunnelError} */
  async open(request: RawStream): Promise<StreamDuplex> {
    const way = await this.way()
    return this.#keep(await traced(request, (trace) => openRawStream(way, inTrace(trace, request))))
  }

  /** The user's login shell; resolves when it runs. @throws {TunnelError} */
  async shell(machine: string, options?: ShellOptions): Promise<Shell> {
    const way = await this.way()
    const shell = await traced({ kind: 'shell', machine }, (trace) =>
      openShell(way, machine, inTrace(trace, options ?? {})),
    )
    this.#keep(shell.stream)
    return shell
  }

  /** An SFTP session with the machine; it has to be closed. @throws {TunnelError} */
  async sftp(machine: string, options?: StreamOptions): Promise<SftpSession> {
    return SftpSession.begin(await this.open({ ...options, machine, kind: 'sftp' }), machine)
  }

  /**
   * A byte stream, joined with a socket or any other duplex: half closes pass, and each side is read at the pace of the
   * other. Resolves when the far side has accepted; `socket` is not read from before that, and is the caller's again
   * when it rejects. @throws {TunnelError}
   */
  async join(request: RawStream, socket: Joined, events: JoinEvents = {}): Promise<void> {
    const way = await this.way()
    await traced(request, (trace) => joinStream(way, inTrace(trace, request), socket, events))
    if (socket.destroyed) return
    this.#joined.add(socket)
    socket.once('close', () => this.#joined.delete(socket))
  }

  /**
   * Tries every hop of the way, on a link of its own, whatever state this client is in; stops at nothing that can still be
   * tried. A hop that fails rejects nothing: it is in the report.
   * @throws {TunnelError} CONFIG_INVALID for settings, ABORTED
   */
  async runDiagnostics(options: DiagnosticOptions = {}): Promise<DiagnosticReport> {
    const { diagnose, subjectOf, ...means } = await import('./diagnostics/from-node.ts')
    const subject = subjectOf(this.options, this.platform, another)
    return diagnose(this.addresses, subject, means, options)
  }

  /**
   * Leaves a request for the program that has the folder `queue.dir` (QUEUE_LOCKED): it sends it, and has its answer.
   * Resolves when the request is on disk. Needs no link.
   * @throws {TunnelError} CONFIG_INVALID, STORE_FAILED
   */
  async handOver(request: ForwardRequest): Promise<void> {
    const { forwarding, settings } = await this.prepare()
    const { dir } = settings.queue
    if (dir === '') throw configInvalid('queue.dir: there is none to hand a request over in')
    const stored = await forwarding.storedOf(request, request.idempotencyKey ?? crypto.randomUUID())
    const { leaveInSpool } = await import('./queue/spool.ts')
    const cipher = await cipherOf(this.options.queue?.encryptionKey)
    await leaveInSpool(dir, await toHandOver(stored, cipher))
  }

  protected override endStreams(all: boolean, error: TunnelError): void {
    // One that its owner has not ended has no end to wait for. No error: its owner asked for this.
    for (const duplex of this.#duplexes) if (all || !duplex.writableEnded) duplex.destroy()
    for (const socket of this.#joined) socket.destroy(error)
  }

  #keep(duplex: StreamDuplex): StreamDuplex {
    this.#duplexes.add(duplex)
    duplex.once('close', () => this.#duplexes.delete(duplex))
    return duplex
  }
}

/** Beside the class: a bundler gives one that names itself another name, which every stack would show. */
function another(options: TunnelServiceOptions): TunnelService {
  return new TunnelService(options)
}
