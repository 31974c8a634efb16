import assert from 'node:assert/strict'
import test from 'node:test'
import { Detours, dialByWhatPasses } from '../../dial/detours.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { UpgradeLost } from '../../protocol/link/dial-failure.ts'
import type { Transport, TransportKind } from '../../protocol/link/transport.ts'

const URL_A = 'wss://a.example/api/tunnel/connect'
const TEN_MINUTES_MS = 600_000
const OPTIONS = { timeoutMs: 1_000, maxFrameBytes: 65_536 }

/** A network: what each of the two ways ends with, and which were tried. */
class Network {
  name = 'office'
  webSocket: TunnelError | undefined
  http: TunnelError | undefined
  readonly memory = new Detours(() => this.name)
  readonly tried: TransportKind[] = []
  readonly dial = dialByWhatPasses({
    webSocket: () => this.#end('websocket', this.webSocket),
    http: () => this.#end('http', this.http),
    memory: this.memory,
  })

  async #end(kind: TransportKind, error: TunnelError | undefined): Promise<Transport> {
    this.tried.push(kind)
    if (error !== undefined) throw error
    return { kind, terminate: () => this.tried.push('local') } as unknown as Transport
  }

  /** What was tried, and what became of it. */
  async dials(transport: 'auto' | 'websocket' | 'http' = 'auto'): Promise<string> {
    this.tried.length = 0
    const reach = { network: { transport, proxy: 'none' }, tls: { minVersion: 'TLSv1.3' } } as const
    const end = await this.dial(URL_A, { ...OPTIONS, reach }).then(
      ({ kind, detour }) => `${kind}${detour === undefined ? '' : ', told why'}`,
      ({ code }: TunnelError) => code,
    )
    return `${this.tried.join(' ')}: ${end}`
  }
}
const refusal = new TunnelError('TOKEN_EXPIRED', 'too old', { hop: 'proxy', fromPeer: true })
const nobody = new TunnelError('CONNECT_REFUSED', 'nobody listens', { hop: 'proxy' })
const lost = new UpgradeLost('an upgrade is taken away')

test('where no WebSocket passes HTTP streaming is taken, told of once, and known from then on in this network', async () => {
  const network = new Network()
  network.webSocket = lost
  assert.equal(await network.dials(), 'websocket http: http, told why')
  assert.equal(await network.dials(), 'http: http')
  network.name = 'home'
  network.webSocket = undefined
  assert.equal(await network.dials(), 'websocket: websocket')
  network.name = 'office'
  assert.equal(await network.dials(), 'http: http')
  // Nothing answers there any more: perhaps what stood between has changed.
  network.http = nobody
  assert.equal(await network.dials(), 'http: CONNECT_REFUSED')
  assert.equal(await network.dials(), 'websocket: websocket')
})

test('nothing else is tried where the proxy itself refuses, nobody is there, or one way is asked for', async () => {
  const network = new Network()
  for (const error of [refusal, nobody]) {
    network.webSocket = error
    assert.equal(await network.dials(), `websocket: ${error.code}`)
  }
  network.webSocket = lost
  assert.equal(await network.dials('websocket'), 'websocket: CONNECT_REFUSED')
  assert.equal(await network.dials('http'), 'http: http')
  assert.deepEqual(network.memory.entries(), [])
  // The same wall: the first word says more.
  network.http = nobody
  assert.equal(await network.dials(), 'websocket http: CONNECT_REFUSED')
  network.http = refusal
  assert.equal(await network.dials(), 'websocket http: TOKEN_EXPIRED')
  assert.deepEqual(network.memory.entries(), [])
})

test('a reverse proxy that had nothing behind it a moment ago says nothing of WebSockets', async () => {
  const network = new Network()
  const answers = [new UpgradeLost('it answered 502', true), undefined]
  Object.defineProperty(network, 'webSocket', { get: () => answers.shift() })
  assert.equal(await network.dials(), 'websocket http websocket local: websocket')
  assert.equal(await network.dials(), 'websocket: websocket')
})

test('it is remembered for ten minutes, of a bounded number of hosts, and no longer because a clock was set back', () => {
  const nowMs = Date.now()
  const of = (untilMs: number) => new Detours(() => 'n', [['a.example n', untilMs]]).has(URL_A)
  assert.deepEqual([of(nowMs - 1), of(nowMs + 60_000), of(nowMs + 2 * TEN_MINUTES_MS)], [false, true, false])
  const memory = new Detours()
  for (let host = 0; host < 100; host++) memory.add(`wss://${host}.example/`)
  const entries = memory.entries()
  assert.deepEqual(
    [entries.length, memory.has('wss://0.example/'), memory.has('wss://99.example/')],
    [64, false, true],
  )
  const [, untilMs] = entries[0]!
  assert.ok(untilMs >= nowMs + TEN_MINUTES_MS && untilMs <= Date.now() + TEN_MINUTES_MS)
})
