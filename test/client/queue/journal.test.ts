import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { Cipher } from '../../../client/queue/cipher.ts'
import { Journal } from '../../../client/queue/journal.ts'
import { MemoryStore } from '../../../client/queue/memory-store.ts'
import type { QueueStore } from '../../../client/queue/store.ts'
import { systemClock } from '../../../protocol/clock.ts'
import { cutLog } from '../../crash/cut-log.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { HeldStore, storedRequest } from './requests.ts'

const open = (store: QueueStore, cipher?: Cipher) => Journal.open(store, systemClock, cipher)
const idsIn = async (journal: Journal) => (await journal.load()).entries.map(({ request }) => request.id)
const text = (value: Uint8Array) => new TextDecoder().decode(value)

async function addAll(journal: Journal, ids: readonly string[]): Promise<number[]> {
  const sequences = ids.map(() => journal.takeSequence())
  await Promise.all(
    sequences.map((sequence, index) => journal.add(sequence, storedRequest({ id: ids[index]! }))),
  )
  return sequences
}

test('what is accepted is there at the next start, in order, and goes with its outcome', async () => {
  const store = new MemoryStore()
  const journal = await open(store)
  await journal.load()
  const full = storedRequest({
    body: randomBytes(1_000),
    expiresAtMs: 7,
    withheld: ['cookie'],
    headers: [['x-ü', 'ÿ']],
  })
  const sequence = journal.takeSequence()
  await journal.add(sequence, full)
  const ids = Array.from({ length: 20 }, (_, index) => `id ${index}`)
  const sequences = await addAll(journal, ids)
  await journal.sending(sequences[3]!, false)
  await journal.sending(sequences[4]!, true)
  journal.remove(sequences[0]!)
  await journal.close()
  const { entries, setAside } = await (await open(store)).load()
  assert.deepEqual(entries[0], {
    sequence,
    maybeSent: false,
    request: { ...full, body: Uint8Array.from(full.body!) },
  })
  assert.deepEqual(
    entries.slice(1).map(({ request }) => request.id),
    ids.slice(1),
  )
  assert.deepEqual(
    entries.filter(({ maybeSent }) => maybeSent).map(({ request }) => request.id),
    ['id 3'],
  )
  assert.deepEqual(setAside, [])
})

test('while one write is synced all that comes gathers for the next', async () => {
  const store = new HeldStore(new MemoryStore())
  const journal = await open(store)
  await journal.load()
  const before = store.batches.length
  const release = store.hold()
  const first = addAll(journal, ['first'])
  const others = Array.from({ length: 100 }, (_, index) => addAll(journal, [`${index}`]))
  release()
  await Promise.all([first, ...others])
  const batches = store.batches.slice(before)
  assert.ok(batches.length <= 2, `${batches.length} batches`)
  assert.ok(batches.every(({ isDurable }) => isDurable))
})

test('a request is written whenever it comes, also in the moment in which a write ends', async () => {
  for (let turns = 0; turns < 30; turns++) {
    const journal = await open(new MemoryStore())
    await journal.load()
    const first = addAll(journal, ['first'])
    for (let turn = 0; turn < turns; turn++) await Promise.resolve()
    let isWritten = false
    const second = addAll(journal, ['second']).then(() => {
      isWritten = true
    })
    await new Promise(setImmediate)
    assert.ok(isWritten, `${turns} turns of the microtask queue later`)
    await Promise.all([first, second])
  }
})

test('a request that could not be written is refused, and does not come back at the next start', async () => {
  const store = new HeldStore(new MemoryStore())
  const journal = await open(store)
  await journal.load()
  await addAll(journal, ['kept'])
  store.failWith = new Error('no space left on device')
  await assert.rejects(addAll(journal, ['refused']), /no space/)
  store.failWith = undefined
  // The next write takes back what the one that failed may have left.
  await addAll(journal, ['next'])
  assert.deepEqual(await idsIn(await open(store)), ['kept', 'next'])
})

test('an outcome that could not be written is written later, and at the close at the latest', async () => {
  const store = new HeldStore(new MemoryStore())
  const journal = await open(store)
  await journal.load()
  const [sequence] = await addAll(journal, ['answered'])
  store.failWith = new Error('no space left on device')
  journal.remove(sequence!)
  await new Promise(setImmediate)
  store.failWith = undefined
  await journal.close()
  assert.deepEqual(await idsIn(await open(store)), [])
})

test('a log that is cut at any byte of its last record has all that was accepted before, and no half request', async (t) => {
  // `npm run crash` cuts at every byte.
  await cutLog(t, 24)
})

test('a store of form 0 is brought to the present form, with what was sent and what was not', async () => {
  const store = new MemoryStore()
  const fixture = JSON.parse(await readFile(new URL('./form-0.json', import.meta.url), 'utf8')) as Record<
    string,
    unknown
  >
  const changes = Object.entries(fixture).map(([key, value]) => ({
    key,
    value: new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value)),
  }))
  await store.write(changes)
  const { entries, setAside } = await (await open(store)).load()
  const seen = entries.map(({ sequence, maybeSent, request: { id, method, body, headers } }) => {
    return { sequence, maybeSent, id, method, headers, body: body && text(body) }
  })
  assert.deepEqual(seen, [
    { sequence: 3, maybeSent: false, id: 'a', method: 'PUT', headers: [['x-a', '1']], body: 'grüße' },
    { sequence: 4, maybeSent: true, id: 'b', method: 'POST', headers: [], body: undefined },
  ])
  assert.deepEqual(setAside, [{ key: 'x!r!0000000000000005', reason: 'it is not a request' }])
  // Once.
  const second = await open(store)
  assert.equal((await second.load()).entries.length, 2)
  assert.equal(second.takeSequence(), 6)
})

test('a store that a later version has written is left as it is', async () => {
  const store = new MemoryStore()
  const value = new TextEncoder().encode('2')
  await store.write([{ key: 'm!schema', value }])
  await assert.rejects(open(store), { code: 'STORE_FAILED', message: /newer/ })
  assert.deepEqual((await store.entries('')).length, 1)
})

test('what is damaged or none of ours is set aside under another key and named, and nothing else is touched', async () => {
  const store = new MemoryStore()
  const journal = await open(store)
  await journal.load()
  await addAll(journal, ['good', 'flipped', 'short', 'last'])
  const [, flipped, short] = await store.entries('r!')
  flipped![1][flipped![1].length - 1]! ^= 1
  await store.write([
    { key: flipped![0], value: flipped![1] },
    { key: short![0], value: short![1].subarray(0, 5) },
    { key: 'somebody', value: new Uint8Array([1]) },
  ])
  const again = await open(store)
  const { entries, setAside } = await again.load()
  assert.deepEqual(
    entries.map(({ request }) => request.id),
    ['good', 'last'],
  )
  assert.deepEqual(setAside, [
    { key: `x!${flipped![0]}`, reason: 'its checksum is wrong' },
    { key: `x!${short![0]}`, reason: 'it is not a request' },
    { key: 'x!somebody', reason: 'its key is not one of a request' },
  ])
  assert.deepEqual(
    (await store.entries('x!')).map(([key]) => key),
    setAside.map(({ key }) => key).sort(),
  )
  // They are told of once, and no later request takes the place of one of them.
  const { setAside: none } = await (await open(store)).load()
  assert.deepEqual(none, [])
})

test('with a key nothing of a request can be read, or put in the place of another', async () => {
  const store = new MemoryStore()
  const plain = await open(store)
  await plain.load()
  await addAll(plain, ['before the key'])
  const cipher = await Cipher.of(randomBytes(32))
  const journal = await open(store, cipher)
  await journal.load()
  await journal.add(journal.takeSequence(), storedRequest({ id: 'secret-id', path: '/secret-path' }))
  const everything = (await store.entries('')).map(([, value]) => text(value)).join()
  assert.doesNotMatch(everything, /secret|before the key/)
  assert.deepEqual(await idsIn(await open(store, cipher)), ['before the key', 'secret-id'])

  const [first, second] = await store.entries('r!')
  await store.write([{ key: second![0], value: first![1] }])
  const { setAside } = await (await open(store, cipher)).load()
  assert.deepEqual(setAside, [{ key: `x!${second![0]}`, reason: 'it cannot be decrypted with this key' }])

  const other = await Cipher.of(randomBytes(32))
  await assert.rejects(open(store, other), { code: 'CONFIG_INVALID', message: /another key/ })
  await assert.rejects(open(store), { code: 'CONFIG_INVALID', message: /no key was given/ })
  assert.deepEqual(await idsIn(await open(store, cipher)), ['before the key'])
  await assert.rejects(Cipher.of(randomBytes(16)), /32 bytes, not 16/)
})

test('what could not be set aside stays where it is, and nothing is written behind a start that failed', async () => {
  const inner = new MemoryStore()
  const [key, value] = ['r!0000000000000001', Uint8Array.of(1, 2, 3)]
  await (await open(inner)).close()
  await inner.write([{ key, value }])
  const clock = new VirtualClock()
  const full: QueueStore = {
    entries: (prefix) => inner.entries(prefix),
    write: async () => {
      throw new Error('no space left on device')
    },
    close: async () => {},
  }
  await assert.rejects((await Journal.open(full, clock)).load(), {
    code: 'STORE_FAILED',
    message: /no space left/,
  })
  assert.equal(clock.pending, 0)
  assert.deepEqual(await inner.entries('r!'), [[key, value]])
})

test('a mark that is being taken back is not taken for one of a request that may have been sent', async () => {
  const journal = await open(new MemoryStore())
  await journal.load()
  const [sequence] = await addAll(journal, ['refused'])
  await journal.sending(sequence!, false)
  journal.notSent(sequence!)
  const { entries } = await journal.load()
  assert.deepEqual(
    entries.map(({ maybeSent }) => maybeSent),
    [false],
  )
})

test('a journal that is closed writes nothing more, though its disk is still full', async () => {
  const clock = new VirtualClock()
  const store = new HeldStore(new MemoryStore())
  const journal = await Journal.open(store, clock)
  await journal.load()
  store.failWith = new Error('no space left on device')
  const release = store.hold()
  const first = addAll(journal, ['first'])
  await new Promise(setImmediate)
  // It comes while the first is being written.
  const second = addAll(journal, ['second'])
  release()
  await Promise.all([assert.rejects(first), assert.rejects(second)])
  await new Promise(setImmediate)
  assert.equal(clock.pending, 1)
  await journal.close()
  assert.equal(clock.pending, 0)
})

test('what the store of a program throws has a code', async () => {
  const store = new HeldStore(new MemoryStore())
  const journal = await open(store)
  await journal.load()
  store.failWith = new Error('read only')
  await assert.rejects(addAll(journal, ['one']), { code: 'STORE_FAILED', message: /written to: read only/ })
  store.entries = () => Promise.reject(new Error('no such table'))
  await assert.rejects(open(store), { code: 'STORE_FAILED', message: /cannot be read: no such table/ })
  await journal.close()
})
