import assert from 'node:assert/strict'
import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { DetourFile } from '../../cli/detour-file.ts'
import { tempFolder } from '../support/tree.ts'

const HOST = 'wss://a.example/api/tunnel/connect'

test('a command knows from the ones before where no WebSocket passes, and a file that is none of ours is as good as none', async (t) => {
  const folder = join(await tempFolder(t), 'state')
  const path = join(folder, 'detours.json')
  const next = () => new DetourFile(path)
  assert.equal(next().has(HOST), false)
  next().add(HOST)
  assert.deepEqual([next().has(HOST), statSync(path).mode & 0o777], [true, 0o600])
  next().forget(HOST)
  assert.equal(next().has(HOST), false)
  for (const rubbish of ['', 'null', '[1]', '{"a":{}}', `{"x":"${'y'.repeat(70_000)}"}`]) {
    writeFileSync(path, rubbish)
    assert.equal(next().has(HOST), false, rubbish.slice(0, 20))
    next().add(HOST)
    assert.equal(next().has(HOST), true)
  }
  assert.deepEqual(readdirSync(folder), ['detours.json'])
  const nowhere = new DetourFile(join(path, 'no folder', 'detours.json'))
  nowhere.add(HOST)
  assert.equal(nowhere.has(HOST), true, 'for as long as this program runs')
})
