import type { DiagnosticOptions, DiagnosticReport } from '../../../client/diagnostics/report.ts'
import type { TunnelClient } from '../../../client/tunnel-client.ts'
import type { TunnelServiceOptions } from '../../../client/tunnel-options.ts'

interface Tunnel extends TunnelClient {
  runDiagnostics(options?: DiagnosticOptions): Promise<DiagnosticReport>
}

/** What a scene is played with: in Node and in a page the same. */
export interface Stage {
  TunnelService: new (options: TunnelServiceOptions) => Tunnel
  url: string
  token: string
  /** `http://MACHINE:PORT` of the target (target.ts). */
  base: string
}

function equal(actual: unknown, expected: unknown): void {
  const [one, other] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (one !== other) throw new Error(`${one} is not ${other}`)
}

async function codeOf(failing: () => unknown): Promise<unknown> {
  try {
    await failing()
  } catch (error) {
    return (error as { code?: unknown }).code ?? error
  }
  return 'it did not fail'
}

async function connected(
  { TunnelService, url, token }: Stage,
  play: (tunnel: TunnelClient) => Promise<void>,
): Promise<void> {
  const tunnel = new TunnelService({ url, token, settings: { backoff: { baseMs: 20 } } })
  await tunnel.connect()
  try {
    await play(tunnel)
  } finally {
    await tunnel.disconnect(0)
  }
}

/** The public interface of the client: these hold wherever it runs. */
export const SCENES: Record<string, (stage: Stage) => Promise<void>> = {
  'states and events tell of a life': async ({ TunnelService, url, token, base }) => {
    const tunnel = new TunnelService({ url, token })
    const states: string[] = [tunnel.state]
    tunnel.on('state', (state) => states.push(state))
    equal(await codeOf(() => tunnel.fetch(base)), 'LINK_LOST')
    await Promise.all([tunnel.connect(), tunnel.connect()])
    await tunnel.disconnect()
    equal(states, ['disconnected', 'connecting', 'connected', 'closed'])
    equal(await codeOf(() => tunnel.fetch(base)), 'ABORTED')
    equal(await codeOf(() => tunnel.connect()), 'ABORTED')
  },

  'wrong addresses, settings, profiles and tokens are told as such': async ({
    TunnelService,
    url,
    token,
  }) => {
    const connect = (options: object) => codeOf(() => new TunnelService({ url, token, ...options }).connect())
    equal(await connect({ url: 'ftp://127.0.0.1' }), 'CONFIG_INVALID')
    equal(await connect({ profile: 'no-such' }), 'CONFIG_INVALID')
    equal(await connect({ settings: { heartbeat: { intervalMs: 'soon' } } }), 'CONFIG_INVALID')
    equal(await connect({ settings: { heartbeat: { intervalMs: -1 } } }), 'CONFIG_INVALID')
    equal(await connect({ settings: { queue: { whenFull: 'panic' } } }), 'CONFIG_INVALID')
    equal(await connect({ settings: { queue: { maxRequest: 1 } } }), 'CONFIG_INVALID')
    equal(await connect({ settings: { nothing: {} } }), 'CONFIG_INVALID')
    equal(await connect({ token: '' }), 'TOKEN_MISSING')
    equal(await connect({ token: 'a.b.c' }), 'TOKEN_INVALID')
    const failing = () => Promise.reject(new Error('no'))
    equal(await connect({ token: failing }), 'TOKEN_MISSING')
  },

  'forwardRequest gives a whole answer': (stage) =>
    connected(stage, async (tunnel) => {
      const port = Number(new URL(stage.base).port)
      const request = {
        machine: 'home',
        port,
        path: '/echo?a=b',
        method: 'PUT',
        body: 'ä',
        headers: { 'x-a': '1' },
      }
      const answer = await tunnel.forwardRequest(request)
      equal([answer.status, answer.ok, answer.headers.get('content-type')], [200, true, 'application/json'])
      const { method, body, headers } = answer.json() as {
        method: string
        body: string
        headers: Record<string, string>
      }
      equal([method, body, headers['x-a'], headers['content-length']], ['PUT', 'ä', '1', '2'])
      equal(await codeOf(() => tunnel.forwardRequest({ ...request, path: 'x' })), 'CONFIG_INVALID')
      equal(await codeOf(() => tunnel.forwardRequest({ ...request, expiresAt: 0 })), 'TIMEOUT')
      equal(await codeOf(() => tunnel.forwardRequest({ ...request, machine: 'nowhere' })), 'MACHINE_UNKNOWN')
      const { latency, successRate, errors } = tunnel.metrics.snapshot()
      equal([latency.p50 > 0, successRate < 1, errors.configuration], [true, true, 1])
    }),

  'fetch takes bodies of every kind': (stage) =>
    connected(stage, async (tunnel) => {
      const send = async (body: NonNullable<RequestInit['body']>): Promise<string> => {
        const response = await tunnel.fetch(`${stage.base}/echo`, { method: 'POST', body })
        return ((await response.json()) as { body: string }).body
      }
      equal(await send('text'), 'text')
      equal(await send(new TextEncoder().encode('bytes')), 'bytes')
      equal(await send(new Blob(['blob'])), 'blob')
      equal(await send(new URLSearchParams({ a: 'b' })), 'a=b')
      const form = new FormData()
      form.set('field', 'value')
      equal((await send(form)).includes('name="field"\r\n\r\nvalue'), true)
      const streamed = new ReadableStream<Uint8Array>({
        start(controller) {
          for (const part of ['in ', 'parts']) controller.enqueue(new TextEncoder().encode(part))
          controller.close()
        },
      })
      equal(await send(streamed), 'in parts')
    }),

  'fetch takes a Request, and uses its body up': (stage) =>
    connected(stage, async (tunnel) => {
      const request = new Request(`${stage.base}/echo`, {
        method: 'POST',
        headers: { 'x-a': '1' },
        body: 'of a request',
      })
      const { method, body, headers } = (await (await tunnel.fetch(request)).json()) as {
        method: string
        body: string
        headers: Record<string, string>
      }
      equal([method, body, headers['x-a'], request.bodyUsed], ['POST', 'of a request', '1', true])
      equal(String(await codeOf(() => tunnel.fetch(request))).slice(0, 10), 'TypeError:')
    }),

  'fetch streams an answer as it comes': (stage) =>
    connected(stage, async (tunnel) => {
      const response = await tunnel.fetch(`${stage.base}/parts`)
      const reader = (response.body as ReadableStream<Uint8Array>).getReader()
      const text = async () => new TextDecoder().decode((await reader.read()).value)
      equal(await text(), 'one')
      await tunnel.fetch(`${stage.base}/go`)
      equal(await text(), 'two')
      equal((await reader.read()).done, true)
    }),

  'an abort rejects with its reason': (stage) =>
    connected(stage, async (tunnel) => {
      const abort = new AbortController()
      const response = tunnel.fetch(`${stage.base}/count?key=slow&ms=60000`, { signal: abort.signal })
      abort.abort('enough')
      equal(await codeOf(() => response), 'enough')
      equal(await codeOf(() => tunnel.fetch('https://home/')), 'CONFIG_INVALID')
    }),

  'a queued request tells when it is accepted, and what became of it': (stage) =>
    connected(stage, async (tunnel) => {
      const port = Number(new URL(stage.base).port)
      const queued = tunnel.enqueue({
        machine: 'home',
        port,
        path: '/count',
        method: 'POST',
        idempotent: true,
      })
      await queued.accepted
      equal((await queued.response).text(), queued.id)
      const refused = tunnel.enqueue({ machine: 'home', port, persist: true })
      equal(await codeOf(() => refused.accepted), 'CONFIG_INVALID')
      equal(await codeOf(() => refused.response), 'CONFIG_INVALID')
    }),

  'a diagnosis tells of every hop, and names the first that fails': async ({
    TunnelService,
    url,
    token,
    base,
  }) => {
    const of = (more: object, options: DiagnosticOptions) =>
      new TunnelService({ url, token, ...more }).runDiagnostics(options)
    const target = `127.0.0.1:${new URL(base).port}`
    const { steps, ...well } = await of({}, { machine: 'home', target })
    equal(well, { ok: true })
    const found = (name: string) => steps.find((step) => step.name === name)?.status
    const always = ['upgrade', 'authentication', 'hello', 'round-trip', 'agent', 'request'] as const
    equal(
      always.map(found),
      always.map(() => 'ok'),
    )
    const first = async (more: object, options: DiagnosticOptions = {}) => {
      const { firstFailure } = await of(more, options)
      return [firstFailure?.name, firstFailure?.code]
    }
    equal(await first({ token: 'a.b.c' }), ['authentication', 'TOKEN_INVALID'])
    equal(await first({}, { machine: 'attic' }), ['agent', 'MACHINE_UNKNOWN'])
    equal((await first({}, { machine: 'home', target: '127.0.0.1:9' }))[0], 'request')
  },

  'the machines are listed': (stage) =>
    connected(stage, async (tunnel) => {
      equal(
        (await tunnel.machines()).map(({ name }) => name),
        ['home'],
      )
    }),
}
