import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { startTunnel } from '../../cli/tunnel.ts'
import { listenTcp, until } from '../../support/proxy.ts'
import type { Scope } from '../../support/scope.ts'
import { type Sshd, shellLine, sshOptions, startSshd } from '../../support/sshd.ts'
import { MACHINE, TUNNEL_CLI } from '../../support/topology.ts'
import { tempFolder } from '../../support/tree.ts'
import { PROGRAMS } from '../programs/index.ts'
import { Copying } from './copying.ts'
import type { Fleet } from './fleet.ts'
import { Opener } from './opener.ts'
import { Typist } from './typist.ts'

export interface LoadOptions {
  /** How many of each run at once. */
  ssh: number
  scp: number
  rsync: number
  /** Between two lines that are typed into one ssh, in ms. */
  gapMs: number
  /** Of one copy, there and back each, and how fast it goes. */
  copyBytes: number
  bytesPerSecond: number
  /** Between two new clients that open a stream, in ms. */
  openEveryMs: number
  seed: string
  signal: AbortSignal
}

/** What came of the load since the last time it was asked. */
export interface Harvest {
  /** The longest echo of each session, in ms. */
  gapsMs: number[]
  /** Sessions and copies that broke, and new streams that failed: each in a line. */
  broken: string[]
  failedOpens: string[]
  /** Copies whose checksums were equal. */
  equal: number
  /** New streams, and the slowest, in ms. */
  opens: number
  slowestOpenMs: number
}

/** The command line that really runs. */
type Wrap = (command: string, args: readonly string[]) => [string, string[]]

/** Several may start at once; more would only wait for a core. */
const STARTS_AT_ONCE = 8
/** How long everybody may take to echo again after a fault, in ms. */
const SETTLE_MS = 60_000

/** Stock programs through the tunnel, all the time: an agent, an sshd, `ssh` sessions, copies, and new streams. */
export class Load {
  readonly #options: LoadOptions
  readonly #fleet: Fleet
  readonly #sshd: Sshd
  readonly #typists: Typist[] = []
  readonly #copies: Copying[] = []
  readonly #opener: Opener
  /** Ends the copies. */
  readonly #abort = new AbortController()

  static async start(scope: Scope, fleet: Fleet, url: string, options: LoadOptions): Promise<Load> {
    const [sshd, folder] = await Promise.all([startSshd(scope), tempFolder(scope, 'load')])
    const echo = await listenTcp(scope, (socket) => socket.pipe(socket))
    const agent = startTunnel(
      scope,
      [
        ...['agent', '--machine', MACHINE, '--ssh', `127.0.0.1:${sshd.port}`, '--allow', echo],
        ...['--set', 'streams.maxPerLink=1024'],
      ],
      { env: fleet.env },
    )
    await agent.line(`${MACHINE} is on line`)
    if (fleet.replicas.length > 1) await fleet.untilMetric('tunnel_active_connections{role="agent"}', 2)
    const opener = new Opener({ url, token: fleet.token, echo, everyMs: options.openEveryMs })
    scope.after(() => opener.end())
    const load = new Load(fleet, sshd, opener, options)
    scope.after(() => load.#kill())
    for (let started = 0; started < options.ssh; started += STARTS_AT_ONCE) {
      const some = Array.from({ length: Math.min(STARTS_AT_ONCE, options.ssh - started) }, () =>
        load.session(),
      )
      load.#typists.push(...some)
      await until(() => some.every((one) => one.isThere || one.fault !== undefined), SETTLE_MS)
    }
    for (const [name, count] of [
      ['scp', options.scp],
      ['rsync', options.rsync],
    ] as const) {
      for (let number = 0; number < count; number++) await load.#copy(name, join(folder, `${name}-${number}`))
    }
    load.harvest()
    return load
  }

  private constructor(fleet: Fleet, sshd: Sshd, opener: Opener, options: LoadOptions) {
    this.#options = options
    this.#fleet = fleet
    this.#sshd = sshd
    this.#opener = opener
  }

  get #proxyCommand(): string {
    return shellLine([process.execPath, TUNNEL_CLI, 'stdio', MACHINE])
  }

  /** One more session, which is not harvested here. */
  session(wrap: Wrap = (command, args) => [command, [...args]], env = this.#fleet.env): Typist {
    const set = ['ServerAliveInterval=0', 'TCPKeepAlive=no', 'ConnectTimeout=60']
    const options = sshOptions(this.#sshd, { proxyCommand: this.#proxyCommand, set })
    const [program, args] = wrap('ssh', [...options, MACHINE, 'exec cat'])
    return new Typist([program, ...args], env, this.#options.gapMs)
  }

  async #copy(name: string, folder: string): Promise<void> {
    const program = PROGRAMS.find((each) => each.name === name)
    if (program === undefined) throw new Error(`no program ${name}`)
    await mkdir(folder)
    const { copyBytes, bytesPerSecond, seed, gapMs } = this.#options
    const signal = AbortSignal.any([this.#abort.signal, this.#options.signal])
    this.#copies.push(
      new Copying(program, {
        ...{ sshd: this.#sshd, proxyCommand: this.#proxyCommand, env: this.#fleet.env, folder },
        ...{ byteCount: copyBytes, bytesPerSecond, seed: `${seed} ${folder}`, gapMs, signal },
        until: new Promise(() => {}),
        arrived: () => {},
        session: (work) => work(),
      }),
    )
  }

  /** Resolves when every session has echoed what was typed from now on; one that does not is broken. */
  async settle(): Promise<void> {
    const nowMs = performance.now()
    const settled = (one: Typist) => one.delays.hasEchoed(nowMs) || one.fault !== undefined
    await until(() => this.#typists.every(settled), SETTLE_MS).catch(() => {})
  }

  /** What came since the last time. A session that broke is told of once. */
  harvest(): Harvest {
    const broken: string[] = []
    const gapsMs: number[] = []
    for (const typist of [...this.#typists]) {
      gapsMs.push(typist.delays.take())
      if (typist.fault === undefined) continue
      broken.push(`ssh: ${typist.fault}`)
      this.#typists.splice(this.#typists.indexOf(typist), 1)
      typist.kill()
    }
    const copied = this.#copies.map((copy) => copy.take())
    broken.push(...copied.flatMap((copy) => copy.faults))
    const equal = copied.reduce((sum, copy) => sum + copy.equal, 0)
    const { timesMs, faults: failedOpens } = this.#opener.take()
    return {
      gapsMs,
      broken,
      failedOpens,
      equal,
      opens: timesMs.length,
      slowestOpenMs: Math.max(0, ...timesMs),
    }
  }

  /** Ends every session as its person would, waits for the copies, and tells the last of it. */
  async end(): Promise<Harvest> {
    await Promise.all([
      this.#opener.end(),
      ...this.#typists.map((typist) => typist.end()),
      ...this.#copies.map((copy) => copy.end()),
    ])
    return this.harvest()
  }

  #kill(): void {
    this.#abort.abort()
    for (const typist of this.#typists) typist.kill()
  }
}
