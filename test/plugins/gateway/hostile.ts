import type { Socket } from 'node:net'
import { listenTcp } from '../../support/proxy.ts'
import type { Scope } from '../../support/scope.ts'
import { Random } from '../../support/seeded-random.ts'
import { headOf, RawCaller, type Scene } from './scene.ts'

const GOOD = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood'
/** An answer with all that answers have, which is cut at any byte. */
const RECORDED = [
  'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n',
  '5\r\nhello\r\n6;a=b\r\n there\r\n0\r\nX: 1\r\n\r\n',
].join('')

/** What a service may do to whoever asks; each is left to end by itself or by its caller. */
const DEEDS: Record<string, (socket: Socket, random: Random) => void> = {
  good: (socket) => socket.write(GOOD),
  garbage: (socket, random) => socket.end(Buffer.from(random.bytes(1 + random.below(300)))),
  'garbage behind a status': (socket, random) =>
    socket.end(
      Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\n'), Buffer.from(random.bytes(1 + random.below(300)))]),
    ),
  'a cut': (socket, random) => socket.end(RECORDED.slice(0, random.below(RECORDED.length))),
  'a reset': (socket, random) =>
    socket.write(RECORDED.slice(0, random.below(RECORDED.length)), () => socket.resetAndDestroy()),
  'no answer': (socket) => socket.destroy(),
  'half a length': (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'),
  'more than it said': (socket) => socket.write(`${GOOD}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`),
  'more, later': (socket) =>
    socket.write(GOOD, () => setImmediate(() => socket.write('HTTP/1.1 200 OK\r\n\r\nearly'))),
  'two framings': (socket) =>
    socket.end(
      'HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n',
    ),
  'two lengths': (socket) =>
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfour!'),
  'a wrong chunk': (socket) =>
    socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour!\r\n0\r\n\r\n'),
  'a thousand headers': (socket) =>
    socket.end(`HTTP/1.1 200 OK\r\n${'X-A: 1\r\n'.repeat(1_000)}Content-Length: 0\r\n\r\n`),
  'a head without end': (socket) => flood(socket, 'HTTP/1.1 200 OK\r\n', 'X-A: 1\r\n'.repeat(500)),
  'interim responses without end': (socket) =>
    flood(socket, '', 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'.repeat(50)),
  'an upgrade that nobody asked for': (socket) =>
    socket.end('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nevil'),
  'control characters': (socket) =>
    socket.end('HTTP/1.1 200 \x01OK\r\nX-A: \x01\x7fb\r\nSet-Cookie: a=\x02\r\nContent-Length: 0\r\n\r\n'),
  'trailers without end': (socket) =>
    flood(socket, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n', 'X: 1\r\n'.repeat(500)),
  'a flood': (socket) => flood(socket, 'HTTP/1.1 200 OK\r\n\r\n', 'evil'.repeat(16_384)),
}
const DEED_NAMES = Object.keys(DEEDS)

/** As fast as it is read, until its peer has had enough. */
function flood(socket: Socket, head: string, piece: string): void {
  socket.write(head)
  const go = (): void => {
    while (socket.writable) if (!socket.write(piece)) return void socket.once('drain', go)
  }
  go()
}

export interface HostileReport {
  cases: number
  /** Answers by deed: what the caller got, as a word. */
  outcomes: Map<string, Map<string, number>>
  /**
   * Callers who got what the service had said before they asked. Bytes that come while nothing is asked are never an
   * answer (RFC 9112, section 9.2), but those still under way when the next request leaves cannot be told from its
   * answer by anybody; they come from the service that was asked, and go to the user who asked.
   */
  early: number
  /** What must not be, each with its case. */
  wrong: string[]
}

/** Callers that leave in the midst of a body: how much they have read by then. */
const LEAVES = new Set(['a flood'])
/** Whoever gets this may get all that another deed says as a body that never ends, and has seen enough. */
const EARLY = /early/

/**
 * Asks a hostile service through the gateway, ten requests at a time, and beside each ten a good one of another
 * service, which has to be answered as ever.
 */
export async function runHostile(
  scope: Scope,
  scene: Scene,
  { cases, seed }: { cases: number; seed: number },
): Promise<HostileReport> {
  // Two of them: which of the requests comes to the service first is not to decide what is asked next.
  const [random, asked] = [new Random(seed), new Random(seed + 1)]
  const hostile = await listenTcp(scope, (socket) => {
    let text = ''
    socket.on('end', () => socket.destroySoon())
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1')
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const deed = decodeURIComponent(text.split(' ')[1]?.slice(1).split('/')[0] ?? '')
        text = text.slice(end + 4)
        DEEDS[deed]?.(socket, random)
      }
    })
  })
  const honest = await listenTcp(scope, (socket) => socket.on('data', () => socket.write(GOOD)))
  const [badPort, goodPort] = [hostile, honest].map((address) => Number(address.split(':')[1])) as [
    number,
    number,
  ]
  const report: HostileReport = { cases: 0, outcomes: new Map(), early: 0, wrong: [] }
  const ask = async (deed: string): Promise<void> => {
    const port = deed === 'honest' ? goodPort : badPort
    const caller = new RawCaller({ after() {} }, scene.proxy.port)
    caller.send(
      headOf(scene, 'GET', port, `/${encodeURIComponent(deed)}/${report.cases}`, 'Connection: close\r\n'),
    )
    const text = await caller.until(LEAVES.has(deed) ? /evilevil/ : EARLY)
    caller.socket.destroy()
    const outcome = outcomeOf(text)
    const counts = report.outcomes.get(deed) ?? new Map<string, number>()
    report.outcomes.set(deed, counts.set(outcome, (counts.get(outcome) ?? 0) + 1))
    const isEarly = deed !== 'honest' && EARLY.test(text)
    if (isEarly) report.early++
    // What was early may have no end of its own: then all that answers the request itself is its body.
    const isMixed =
      deed === 'honest' ? /evil|early/.test(text) : !LEAVES.has(deed) && !isEarly && text.includes('evil')
    const isLost = (deed === 'honest' || deed === 'good') && outcome !== '200 good' && !isEarly
    if (isMixed || isLost) report.wrong.push(`${deed}: ${text.slice(0, 200)}`)
  }
  while (report.cases < cases) {
    const deeds = Array.from({ length: Math.min(10, cases - report.cases) }, () => asked.pick(DEED_NAMES))
    report.cases += deeds.length
    await Promise.all([...deeds, 'honest'].map((deed) => ask(deed)))
  }
  return report
}

function outcomeOf(text: string): string {
  const code = /x-tunnel-error: (\w+)/.exec(text)?.[1]
  if (code !== undefined) return code
  const final = text.replace(/^(HTTP\/1.1 1\d\d .*?\r\n\r\n)*/s, '')
  const status = /^HTTP\/1.1 (\d{3})/.exec(final)?.[1]
  if (status === undefined) return 'cut before an answer'
  return final.endsWith('\r\n\r\ngood') ? `${status} good` : `${status}, whole or cut`
}
