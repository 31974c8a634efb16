import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { IndexedDbStore } from '../../../client/queue/indexed-db-store.ts'
import { LevelStore } from '../../../client/queue/level-store.ts'
import { MemoryStore } from '../../../client/queue/memory-store.ts'
import { Spool } from '../../../client/queue/spool.ts'
import type { QueueStore } from '../../../client/queue/store.ts'
import { tempFolder } from '../../support/tree.ts'
import 'fake-indexeddb/auto'

const bytes = (text: string) => new TextEncoder().encode(text)
const read = async (store: QueueStore, prefix = '') =>
  (await store.entries(prefix)).map(([key, value]) => `${key}=${new TextDecoder().decode(value)}`)

/** Opens the same store each time that it is called. */
const STORES: Record<string, (t: TestContext) => Promise<() => Promise<QueueStore>>> = {
  LevelDB: async (t) => {
    const dir = await tempFolder(t, 'store')
    return () => LevelStore.open(dir)
  },
  IndexedDB: async () => {
    const name = crypto.randomUUID()
    return () => IndexedDbStore.open(name)
  },
  memory: async () => {
    const store = new MemoryStore()
    return async () => store
  },
}

for (const [name, make] of Object.entries(STORES)) {
  test(`${name} keeps what is written, in the order of the keys, over a close`, async (t) => {
    const open = await make(t)
    const store = await open()
    const value = bytes('2')
    await store.write(
      [
        { key: 'r!2', value },
        { key: 's!2', value: new Uint8Array() },
        { key: 'r!10', value: bytes('10') },
      ],
      true,
    )
    value.fill(0)
    await store.write(
      [
        { key: 'r!1', value: bytes('1') },
        { key: 's!2', value: undefined },
      ],
      false,
    )
    assert.deepEqual(await read(store), ['r!1=1', 'r!10=10', 'r!2=2'])
    await store.close()
    const again = await open()
    assert.deepEqual(await read(again, 'r!1'), ['r!1=1', 'r!10=10'])
    await again.close()
  })
}

for (const byteCount of [1, 100_000]) {
  test(`of two changes to one key in one write the later one stays, with values of ${byteCount} bytes too`, async (t) => {
    const store = await LevelStore.open(await tempFolder(t, 'store'))
    t.after(() => store.close())
    const value = new Uint8Array(byteCount).fill(65)
    await store.write([{ key: 'r!1', value }], true)
    const changes = [
      { key: 'r!1', value: undefined },
      { key: 'r!2', value },
      { key: 'r!3', value },
      { key: 'r!3', value: undefined },
      { key: 'r!4', value: undefined },
      { key: 'r!4', value },
    ]
    await store.write(changes, true)
    const entries = (await store.entries('')).map(([key, found]) => [key, Uint8Array.from(found)])
    assert.deepEqual(entries, [
      ['r!2', value],
      ['r!4', value],
    ])
  })
}

test('a second program on the folder is told so, and gets it when the first has closed', async (t) => {
  const dir = await tempFolder(t, 'store')
  const first = await LevelStore.open(dir)
  await assert.rejects(LevelStore.open(dir), (error: { code: string; message: string }) => {
    assert.equal(error.code, 'QUEUE_LOCKED')
    assert.match(error.message, new RegExp(dir))
    return true
  })
  await first.close()
  await (await LevelStore.open(dir)).close()
})

test('a folder that cannot be used is named, with the reason', async (t) => {
  const dir = await tempFolder(t, 'store')
  const file = join(dir, 'file')
  await writeFile(file, '')
  await assert.rejects(LevelStore.open(file), {
    code: 'STORE_FAILED',
    category: 'configuration',
    message: /file/,
  })
})

test('what LevelDB leaves out of a damaged log is told', async (t) => {
  const dir = await tempFolder(t, 'store')
  const store = await LevelStore.open(dir)
  assert.deepEqual(store.damage, [])
  for (let index = 0; index < 10; index++)
    await store.write([{ key: `r!${index}`, value: bytes('x'.repeat(5_000)) }], true)
  await store.close()
  const log = join(dir, 'db', '000003.log')
  const content = await readFile(log)
  content[20_000]! ^= 0xff
  await writeFile(log, content)
  const damaged = await LevelStore.open(dir)
  assert.match(damaged.damage[0] ?? '', /\d+ bytes of the log/)
  assert.ok((await damaged.entries('r!')).length < 10)
  await damaged.close()
})

test('what cannot be taken from the spool is told once, and what is behind it is taken', async (t) => {
  const dir = await tempFolder(t, 'spool')
  const spool = new Spool(dir)
  await mkdir(join(dir, 'spool', '0-is-a-folder.request'), { recursive: true })
  await spool.leave(bytes('one'))
  const told: string[] = []
  const taken: string[] = []
  await new Promise<void>((resolve) => {
    spool.receive(
      async (_name, value) => () => void taken.push(new TextDecoder().decode(value)),
      ({ code, message }) => {
        told.push(`${code} ${message.includes('EISDIR')}`)
        resolve()
      },
    )
  })
  await spool.close()
  assert.deepEqual([taken, told], [['one'], ['STORE_FAILED true']])
})

test('what is left in a spool within one millisecond is taken in its order', async (t) => {
  const spool = new Spool(await tempFolder(t, 'spool'))
  t.mock.method(Date, 'now', () => 1_800_000_000_000)
  const values = Array.from({ length: 10 }, (_, index) => String(index))
  for (const each of values) await spool.leave(bytes(each))
  const taken: string[] = []
  await new Promise<void>((resolve) => {
    const take = async (_name: string, value: Uint8Array) => {
      taken.push(new TextDecoder().decode(value))
      return () => taken.length === values.length && resolve()
    }
    spool.receive(take, ({ message }) => taken.push(message))
  })
  await spool.close()
  assert.deepEqual(taken, values)
})

test('a spool that is closed takes no more of what is in it', async (t) => {
  const spool = new Spool(await tempFolder(t, 'spool'))
  for (const each of ['one', 'two', 'three']) await spool.leave(bytes(each))
  const taken: string[] = []
  const closed = new Promise<Promise<void>>((resolve) => {
    const take = async (_name: string, value: Uint8Array) => {
      taken.push(new TextDecoder().decode(value))
      resolve(spool.close())
      return () => {}
    }
    spool.receive(take, ({ message }) => taken.push(message))
  })
  await await closed
  assert.deepEqual(taken, ['one'])
})
