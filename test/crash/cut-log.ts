import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { cp, readdir, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { Journal } from '../../client/queue/journal.ts'
import { LevelStore } from '../../client/queue/level-store.ts'
import { systemClock } from '../../protocol/clock.ts'
import { storedRequest } from '../client/queue/requests.ts'
import type { Scope } from '../support/scope.ts'
import { tempFolder } from '../support/tree.ts'

const open = async (dir: string) => Journal.open(await LevelStore.open(dir), systemClock)

/** Cuts the store's log at every `step`th byte of its last record, and looks at what is then restored. Returns how often. */
export async function cutLog(scope: Scope, step: number): Promise<number> {
  const dir = await tempFolder(scope, 'journal')
  const db = join(dir, 'db')
  const journal = await open(dir)
  await journal.load()
  const add = (id: string) =>
    journal.add(journal.takeSequence(), storedRequest({ id, body: randomBytes(100) }))
  await Promise.all([add('a'), add('b')])
  const log = (await readdir(db)).find((name) => name.endsWith('.log')) ?? ''
  const sizeOf = async () => (await stat(join(db, log))).size
  const before = await sizeOf()
  await add('last')
  const after = await sizeOf()
  await journal.close()
  assert.ok(after > before + 100)
  let cuts = 0
  for (let length = before; length <= after; length = Math.max(length + 1, Math.min(length + step, after))) {
    const copy = join(dir, 'copy')
    await cp(db, join(copy, 'db'), { recursive: true })
    await truncate(join(copy, 'db', log), length)
    const cut = await open(copy)
    const { entries, setAside } = await cut.load()
    const ids = entries.map(({ request }) => request.id)
    assert.deepEqual(ids, length === after ? ['a', 'b', 'last'] : ['a', 'b'], `cut at ${length}`)
    assert.deepEqual(setAside, [])
    await cut.close()
    await rm(copy, { recursive: true })
    cuts++
  }
  return cuts
}
