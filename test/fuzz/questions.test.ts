import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fromWire, type Message, toWire } from '../../plugins/cluster/messages.ts'
import type { Peer } from '../../plugins/cluster/peer.ts'
import { Questions } from '../../plugins/cluster/questions.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { decodeJson, encodeJson, FrameType, HEADER_BYTES } from '../../protocol/codec/frames.ts'
import { Random } from '../support/seeded-random.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const SEED = 20_261_127
const ROUNDS = 300
const MESSAGES_PER_ROUND = 40
/** Longer than a replica has for its answer, in ms. */
const ANSWER_MS = 2_500
const WHATS = ['links', 'sessions', 'broken', '__proto__', 'constructor', '', 'x'.repeat(300), 'toString']
const WILD = [null, -1, 0.5, 2 ** 53, 1e300, '', 'x'.repeat(300), [], {}, true, '\ud800', [[[]]], undefined]

type Question = Extract<Message, { is: 'ask' | 'answer' }>

/** An ask or an answer, as another replica might send it, or nearly so. */
function madeUp(random: Random, asked: number): Record<string, unknown> {
  const number = random.pick([asked, asked, asked - 1, asked + 1, 0, random.below(1_000)])
  const items = Array.from({ length: random.below(random.chance(0.02) ? 12_000 : 5) }, () =>
    random.pick(WILD),
  )
  const message: Record<string, unknown> = random.chance(0.5)
    ? { is: 'ask', number, what: random.pick(WHATS), about: { whose: random.pick(WILD) } }
    : { is: 'answer', number, items, more: random.chance(0.7), cut: random.chance(0.5) }
  if (random.chance(0.3)) message[random.pick(Object.keys(message))] = random.pick(WILD)
  return message
}

/** The message after its way as a frame, some bytes of which may be others now. Undefined for what is refused. */
function carried(random: Random, message: Record<string, unknown>): Question | undefined {
  try {
    const frame = encodeJson(FrameType.MESH, 0, message)
    if (random.chance(0.2)) {
      const at = HEADER_BYTES + random.below(frame.length - HEADER_BYTES)
      frame[at] = frame[at]! ^ (1 << random.below(8))
    }
    const read = fromWire(decodeJson(frame))
    return read?.is === 'ask' || read?.is === 'answer' ? read : undefined
  } catch (error) {
    // The link ends, in order.
    assert.ok(error instanceof TunnelError && /^FRAME_(INVALID|TOO_LARGE)$/.test(error.code), `${error}`)
    return undefined
  }
}

/** Another replica, and what it was told. */
function peerOf(id: string): { peer: Peer; told: Question[] } {
  const told: Question[] = []
  const peer = {
    id,
    tell(message: Message) {
      // As it arrives there.
      const read = fromWire(JSON.parse(JSON.stringify(toWire(message))))
      if (read?.is === 'ask' || read?.is === 'answer') told.push(read)
    },
  }
  return { peer: peer as unknown as Peer, told }
}

test(`${ROUNDS * MESSAGES_PER_ROUND} questions and answers that a replica makes up: no crash, nothing kept, and what others answer stays whole`, async () => {
  const random = new Random(SEED)
  const clock = new VirtualClock()
  const liar = peerOf('liar')
  const honest = peerOf('honest')
  let failures = 0
  const questions = new Questions(
    () => [liar.peer, honest.peer],
    () => [],
    () => failures++,
    clock,
  )
  questions.onQuestion('links', () => [{ own: true }])
  questions.onQuestion('broken', (about) => {
    if (about.whose === null) throw new Error('broken')
    return []
  })
  const seen = { answered: 0, missing: 0, cut: 0 }
  for (let round = 0; round < ROUNDS; round++) {
    const asking = questions.ask('links', { whose: null })
    const asked = honest.told.splice(0).find(({ is }) => is === 'ask')
    assert.ok(asked)
    for (let message = 0; message < MESSAGES_PER_ROUND; message++) {
      const read = carried(random, madeUp(random, asked.number - random.below(2)))
      if (read !== undefined) questions.heard(liar.peer, read)
      if (message === 20)
        questions.heard(honest.peer, {
          ...{ is: 'answer', number: asked.number, items: [round], more: false, cut: false },
        })
    }
    await clock.run(clock.now() + ANSWER_MS)
    const { items, missing, cut } = await asking
    assert.deepEqual(
      items.filter(({ replica }) => replica === 'honest'),
      [{ replica: 'honest', item: round }],
    )
    assert.ok(items.length <= 10_001, `${items.length} items`)
    for (const list of [missing, cut]) assert.ok(!list.includes('honest'))
    seen.answered += missing.length === 0 ? 1 : 0
    seen.missing += missing.length
    seen.cut += cut.length
    // Who asks is answered with what there is, and nobody else hears of it.
    assert.ok(liar.told.splice(0).every(({ is }) => is === 'ask' || is === 'answer'))
    assert.deepEqual(honest.told, [])
  }
  assert.equal(clock.pending, 0)
  // A fuzzer whose every message is refused, or taken, would prove nothing.
  for (const [what, times] of Object.entries({ ...seen, failures }))
    assert.ok(times > ROUNDS / 20, `${what}: ${times}`)
})

test('of more items than an answer may hold as many are told, and that there are more', async () => {
  const there = peerOf('here')
  let count = 10_001
  const answering = new Questions(
    () => [],
    () => [],
    () => {},
    new VirtualClock(),
  )
  answering.onQuestion('links', () => Array.from({ length: count }, (_, number) => ({ number })))
  const asked = peerOf('there')
  const asking = new Questions(
    () => [asked.peer],
    () => [],
    () => {},
    new VirtualClock(),
  )
  for (const cut of [['there'], []]) {
    const answer = asking.ask('links', {})
    for (const question of asked.told.splice(0)) answering.heard(there.peer, question)
    for (const part of there.told.splice(0)) asking.heard(asked.peer, part)
    const { items, ...rest } = await answer
    assert.equal(items.length, 10_000)
    assert.deepEqual(rest, { missing: [], cut, replicas: 2 })
    count--
  }
})
