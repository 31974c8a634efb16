import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type ClientSettings, loadSettings, TunnelService } from '../../client/index.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { Hello } from '../../protocol/codec/hello.ts'
import { Link } from '../../protocol/link/link.ts'
import { StreamAcceptor } from '../../protocol/stream/acceptor.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { MemoryPair } from '../support/memory-transport.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { clientOf, respond, startProxy } from './proxy.ts'

const PROFILES = ['default', 'low-bandwidth', 'unstable-network', 'stable-network'] as const
const DOCUMENT = join(import.meta.dirname, '../../docs/CONFIGURATION.md')
const DAY_MS = 86_400_000
const ANSWER = JSON.stringify(
  Array.from({ length: 400 }, (_, id) => ({ id, name: `machine-${id}`, online: true })),
)

/** A client and a proxy of one profile, in virtual time; the network takes what it is told to. */
class Stage {
  readonly clock = new VirtualClock()
  readonly tunnel: TunnelService
  readonly counted = { frames: 0, bytes: 0 }
  readonly dialsMs: number[] = []
  isUp = true
  pair!: MemoryPair
  readonly #settings: ClientSettings
  readonly #acceptor: StreamAcceptor

  constructor(t: TestContext, settings: ClientSettings, onStream: (stream: TunnelStream) => void) {
    const { clock } = this
    this.#settings = settings
    this.#acceptor = new StreamAcceptor({ hop: 'agent', settings: settings.streams, clock, onStream })
    // In the middle of its jitter.
    const platform = { clock, random: () => 0.5, dial: async () => this.#dial() }
    this.tunnel = new TunnelService({ url: 'http://proxy', token: 'x', resolvedSettings: settings, platform })
    t.after(() => this.until(this.tunnel.disconnect(0)))
  }

  #dial() {
    this.dialsMs.push(this.clock.now())
    if (!this.isUp) throw new TunnelError('CONNECT_REFUSED', 'nothing listens there', { hop: 'proxy' })
    const { clock } = this
    const { heartbeat, limits, streams } = this.#settings
    this.pair = new MemoryPair({ clock })
    for (const end of [this.pair.a, this.pair.b])
      end.onSend = (frame) => {
        this.counted.frames++
        this.counted.bytes += frame.length
      }
    const hello: Hello = {
      ...{ role: 'proxy', version: 1, software: 'test', heartbeat, resumeMs: streams.resumeMs },
      limits: { maxFrameBytes: limits.maxFrameBytes, maxStreams: 8 },
    }
    const handlers = {
      open: (open: Parameters<StreamAcceptor['open']>[0]) => this.#acceptor.open(open, 'anna'),
      resume: (resume: Parameters<StreamAcceptor['resume']>[0]) => this.#acceptor.resume(resume, 'anna'),
    }
    new Link({ transport: this.pair.b, dialler: false, hello, clock, handlers })
    return this.pair.a
  }

  async connect(): Promise<void> {
    await this.until(this.tunnel.connect())
    await this.pass(1_000)
  }

  pass(ms: number): Promise<void> {
    return this.clock.run(this.clock.now() + ms)
  }

  /** Lets time go until that has happened. Returns how long it took, in ms. */
  async until(happened: Promise<unknown>): Promise<number> {
    const fromMs = this.clock.now()
    let isOver = false
    happened.then(
      () => {
        isOver = true
      },
      () => {
        isOver = true
      },
    )
    await this.clock.run(fromMs + DAY_MS, () => isOver)
    return this.clock.now() - fromMs
  }
}

const accept = (stream: TunnelStream) => stream.accept()
const seconds = (ms: number) => `${Math.round(ms / 1_000)} s`

/** What a client of this profile sends, and when, as the rows of the table in docs/CONFIGURATION.md. */
async function measure(t: TestContext, profile: string): Promise<Record<string, string>> {
  const settings = await loadSettings(profile)

  const idle = new Stage(t, settings, accept)
  await idle.connect()
  Object.assign(idle.counted, { frames: 0, bytes: 0 })
  await idle.pass(60_000)
  const minute = { ...idle.counted }
  idle.pair.freeze()
  const noticedMs = await idle.until(new Promise((resolve) => idle.tunnel.on('link-lost', resolve)))

  const lost = new Stage(t, settings, accept)
  await lost.connect()
  lost.isUp = false
  lost.dialsMs.length = 0
  lost.pair.cut()
  const gaveUpMs = await lost.until(new Promise((resolve) => lost.tunnel.on('error', resolve)))
  const waits = lost.dialsMs.map((atMs, index) => atMs - (lost.dialsMs[index - 1] ?? atMs))

  const held = new Stage(t, settings, accept)
  await held.connect()
  const opening = held.tunnel.open({ machine: 'home', kind: 'ssh' })
  await held.until(opening)
  const duplex = await opening
  held.isUp = false
  held.pair.cut()
  const keptMs = await held.until(new Promise((resolve) => duplex.once('error', resolve)))

  let unread = 0
  const flood = new Stage(t, settings, (stream) => {
    stream.accept()
    stream.handle({})
    for (let sent = 0; sent < 4; sent++) stream.write(new Uint8Array(1_048_576))
  })
  await flood.connect()
  const reading = flood.tunnel.open({ machine: 'home', kind: 'ssh' })
  flood.pair.b.onSend = (frame) => {
    unread += frame.length
  }
  await flood.until(reading)
  await flood.pass(5_000)

  const silent = new Stage(t, settings, () => {})
  await silent.connect()
  const answeredMs = await silent.until(silent.tunnel.forwardRequest({ machine: 'home' }))

  return {
    'frames of an idle minute': String(minute.frames),
    'bytes of an idle minute': String(minute.bytes),
    'a silent network is noticed after': seconds(noticedMs),
    'the next dials come after': `${waits
      .slice(1, 6)
      .map((ms) => ms / 1_000)
      .join(', ')} s`,
    'dials before it gives up': String(waits.length),
    'it gives up after': seconds(gaveUpMs),
    'a stream waits for a link for': seconds(keptMs),
    'a response that nobody reads takes': `${Math.round(unread / 1_024)} KiB`,
    'a request without an answer ends after': seconds(answeredMs),
    'an answer of 18 kB of JSON is on the wire': `${await wireBytes(t, profile)}`,
  }
}

async function wireBytes(t: TestContext, profile: string): Promise<string> {
  const { compression } = await loadSettings(profile)
  const proxy = await startProxy(t, {
    onStream: (stream) => respond(stream, 200, ANSWER),
    compression: compression.enabled ? compression : undefined,
  })
  const tunnel = clientOf(t, proxy.url, { profile })
  await tunnel.connect()
  const before = proxy.sentBytes
  const { body } = await tunnel.forwardRequest({ machine: 'home' })
  assert.equal(body.length, ANSWER.length)
  return `${((proxy.sentBytes - before) / 1_000).toFixed(0)} kB`
}

test('profiles differ in what goes over the wire and when, as the table in docs/CONFIGURATION.md says', async (t) => {
  const measured = await Promise.all(PROFILES.map((profile) => measure(t, profile)))
  const [, table = ''] = readFileSync(DOCUMENT, 'utf8').split('\n## Profiles\n')
  for (const row of Object.keys(measured[0] ?? {})) {
    const cells = PROFILES.map((_, index) => measured[index]?.[row])
    assert.ok(table.includes(`| ${row} | ${cells.join(' | ')} |`), `${row} | ${cells.join(' | ')}`)
    assert.ok(new Set(cells).size > 1, `${row} is the same for all`)
  }
})
