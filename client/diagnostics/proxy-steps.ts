import type { ProxyAddress } from '../../dial/addresses.ts'
import type { TokenProvider } from '../../dial/token.ts'
import { asTunnelError, TunnelError } from '../../protocol/codec/errors.ts'
import type { DetouredError, Dial, DialOptions, Fetch, Transport } from '../../protocol/link/transport.ts'
import type { Reach } from '../../protocol/options.ts'
import type { TunnelClient } from '../tunnel-client.ts'
import { adviceOf, expiryText, skewOf } from './clocks.ts'
import { msText } from './spans.ts'
import type { Steps, Warning } from './steps.ts'

const PINGS = 5

/** What a diagnosis makes a client of, for one address; it disconnects it. */
export interface Subject<Client extends TunnelClient = TunnelClient> {
  token: TokenProvider
  dial: Dial
  /** How the proxy is reached. @throws {TunnelError} CONFIG_INVALID */
  reach(): Promise<Reach>
  fetchBy(reach: Reach): Fetch
  newClient(url: string, token: TokenProvider, dial: Dial): Client
}

/** How the parts of one dial ended, as the client's own dial went through them. */
interface Watched {
  tokenError?: TunnelError
  token?: string
  dialMs?: number
  dialledAtMs?: number
  dialError?: TunnelError
  /** HTTP streaming has carried it, or the proxy's refusal: why no WebSocket did, where that is known. */
  instead?: { why: TunnelError | undefined }
}

/** From the WebSocket to the round trip. Answers with the connected client, or nothing. */
export async function tryLink<Client extends TunnelClient>(
  address: ProxyAddress,
  subject: Subject<Client>,
  steps: Steps,
): Promise<Client | undefined> {
  const seen: Watched = {}
  const client = subject.newClient(
    address.link,
    watchToken(subject.token, seen),
    watchDial(subject.dial, seen),
  )
  let failure: TunnelError | undefined
  let isLate = false
  const late = setTimeout(() => {
    isLate = true
    void client.disconnect(0)
  }, 2 * steps.stepMs)
  const calledOff = () => void client.disconnect(0)
  steps.signal?.addEventListener('abort', calledOff, { once: true })
  try {
    await client.connect()
  } catch (error) {
    const text = `there was no link after ${(2 * steps.stepMs) / 1_000} s`
    failure = isLate ? new TunnelError('TIMEOUT', text, { hop: 'link' }) : asTunnelError(error, 'client')
    if (isLate && seen.dialError !== undefined) seen.dialError = failure
  }
  clearTimeout(late)
  steps.signal?.removeEventListener('abort', calledOff)
  // A setting is wrong: nothing was tried.
  if (failure?.code === 'CONFIG_INVALID') throw failure
  try {
    await tellDial(address, subject, seen, failure, steps)
    if (failure === undefined) await tellLink(client, performance.now() - (seen.dialledAtMs ?? 0), steps)
  } catch (error) {
    await client.disconnect(0)
    throw error
  }
  if (failure === undefined) return client
  await client.disconnect(0)
  return undefined
}

/** A text stays one: what is given as text is not asked for a second time. */
function watchToken(token: TokenProvider, seen: Watched): TokenProvider {
  if (typeof token === 'string') {
    seen.token = token
    return token
  }
  return async () => {
    try {
      seen.token = await token({})
      return seen.token
    } catch (error) {
      seen.tokenError = asTunnelError(error, 'client', 'TOKEN_MISSING')
      throw error
    }
  }
}

function watchDial(dial: Dial, seen: Watched): Dial {
  const watched = async (url: string, options: DialOptions): Promise<Transport> => {
    const startedAtMs = performance.now()
    delete seen.dialError
    delete seen.instead
    try {
      const transport = await dial(url, options)
      seen.dialledAtMs = performance.now()
      const { kind, detour } = transport
      if (kind === 'http') seen.instead = { why: detour }
      return transport
    } catch (error) {
      seen.dialError = asTunnelError(error, 'link')
      const { detour } = seen.dialError as DetouredError
      if (detour !== undefined) seen.instead = { why: detour }
      throw error
    } finally {
      seen.dialMs = performance.now() - startedAtMs
    }
  }
  return dial.silent === undefined ? watched : Object.assign(watched, { silent: dial.silent })
}

/** The steps `upgrade`, `authentication` and, of a link that there is not, `hello`. */
async function tellDial(
  address: ProxyAddress,
  subject: Subject,
  seen: Watched,
  failure: TunnelError | undefined,
  steps: Steps,
): Promise<void> {
  const { dialMs, dialError } = seen
  const reach = await subject.reach()
  const noLink = () => steps.skip(['hello', 'round-trip'], 'there is no link')
  if (failure !== undefined && dialMs === undefined) {
    // The token: that a WebSocket passes can be seen without one, by the proxy's refusal.
    await steps.run('upgrade', (signal) =>
      wayOfRefusal(subject.dial, address.link, reach, steps.stepMs, signal),
    )
    steps.fail('authentication', seen.tokenError ?? failure)
    return noLink()
  }
  if (dialError !== undefined && !isProxysWord(dialError)) {
    steps.fail('upgrade', dialError, dialMs)
    steps.skip('authentication', 'the proxy was not reached')
    return noLink()
  }
  steps.done(
    'upgrade',
    wayOf(dialError === undefined ? address.link : 'the proxy answers', seen, reach),
    dialMs,
  )
  if (dialError !== undefined && dialError.category !== 'authentication') {
    steps.skip('authentication', 'the proxy turned us away before')
    steps.fail('hello', dialError)
    return steps.skip('round-trip', 'there is no link')
  }
  const clock = await skewOf(address, steps.stepMs, subject.fetchBy(reach))
  if (dialError !== undefined) {
    steps.fail('authentication', dialError, 0, adviceOf(seen.token, clock))
    return noLink()
  }
  steps.done('authentication', [expiryText(seen.token), clock?.text].filter(Boolean).join('; '))
  if (failure === undefined) return
  steps.fail('hello', failure)
  steps.skip('round-trip', 'there is no link')
}

/** What a tunnel proxy itself has answered: so it was reached. */
function isProxysWord(error: TunnelError): boolean {
  return error.fromPeer || error.category === 'authentication'
}

const NO_WEBSOCKET =
  'it works, with more requests and more delay: have what stands between here and the proxy pass WebSockets on'

/** What a dial that came through has shown of WebSockets. */
function wayOf(found: string, { instead }: Watched, reach: Reach): string | Warning {
  if (instead === undefined) return found
  if (reach.network.transport === 'http') return 'HTTP streaming, as the setting network.transport says'
  const { why } = instead
  const reason = why === undefined ? '' : ` (${why.message})`
  const detail = `no WebSocket passes${reason}: HTTP streaming is used instead`
  return { detail, suggestion: NO_WEBSOCKET, why }
}

/** The same without a token, by the proxy's refusal. @throws {TunnelError} */
async function wayOfRefusal(
  dial: Dial,
  url: string,
  reach: Reach,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<string | Warning> {
  const seen: Watched = {}
  try {
    const transport = await watchDial(dial, seen)(url, { timeoutMs, maxFrameBytes: 65_536, signal, reach })
    transport.terminate()
  } catch (error) {
    if (!isProxysWord(asTunnelError(error, 'link'))) throw error
  }
  return wayOf('the proxy answers, and wants a token', seen, reach)
}

async function tellLink(client: TunnelClient, helloMs: number, steps: Steps): Promise<void> {
  const { link } = client
  const peer = link?.peer
  if (link === undefined || peer === undefined) {
    steps.fail('hello', new TunnelError('LINK_LOST', 'the link was lost again', { hop: 'link' }), helloMs)
    return steps.skip('round-trip', 'there is no link')
  }
  const heartbeat = `heartbeat ${peer.heartbeat.intervalMs / 1_000} s`
  steps.done('hello', `${peer.software}, protocol ${peer.version}, ${heartbeat}`, helloMs)
  await steps.run('round-trip', async (signal) => {
    const allMs: number[] = []
    while (allMs.length < PINGS) {
      const answered = new Promise<void>((resolve, reject) => {
        const end = client.metrics.subscribe(() => {
          end()
          resolve()
        }, 0)
        signal.addEventListener('abort', () => {
          end()
          reject(signal.reason as Error)
        })
      })
      link.probe(steps.stepMs)
      await answered
      if (link.closedWith !== undefined) throw link.closedWith
      allMs.push(link.rttMs ?? 0)
    }
    const [least, most] = [Math.min(...allMs), Math.max(...allMs)]
    return `${msText(least)} to ${msText(most)}`
  })
}
