import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { run } from '../support/process.ts'
import { BUILT_CLI } from '../support/topology.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated } from './tunnel.ts'

test('a Node that is too old is told in one line, and one that is new enough in none', async (t) => {
  const folder = await tempFolder(t)
  const startedBy = (node: string) => {
    const pretend = join(folder, `${node}.cjs`)
    const versions = `{ ...process.versions, node: '${node}' }`
    writeFileSync(pretend, `Object.defineProperty(process, 'versions', { value: ${versions} })`)
    return run(process.execPath, ['--require', pretend, BUILT_CLI, '--version'], { env: isolated(folder) })
  }
  for (const node of ['10.24.1', '18.20.4', '20.18.3']) {
    const { code, stdout, stderr } = await startedBy(node)
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(stderr, /^tunnel: Node [\d.]+ \([^)]+\) is too old: install 20\.19 or newer [^\n]*\n$/)
  }
  for (const node of ['20.19.0', '21.0.0']) {
    const { code, stderr } = await startedBy(node)
    assert.deepEqual([code, stderr], [0, ''])
  }
})

test('what asks which Node it is has no syntax that an old one cannot read', () => {
  const code = readFileSync(BUILT_CLI, 'utf8')
  assert.match(code, /^#![^\n]*\n\(function demand\(/)
  assert.doesNotMatch(code, /\?\?|\?\.[a-z[(]/i)
})
