import assert from 'node:assert/strict'
import { test } from 'node:test'
import { spawnProgram } from './process.ts'
import { freePort } from './system.ts'

test('what is caught of a line is of the whole line; of a prompt, which has no end, nothing is caught', async (t) => {
  const program = spawnProgram(t, 'sh', ['-c', 'printf "port 12"; read -r line; echo 34; printf 56'], {
    stdin: 'pipe',
  })
  const port = program.line(/^port (\d+)/)
  await program.line(/^port \d+$/)
  program.write('go on\n')
  assert.equal((await port)[1], '1234')
  // With the program the line is over too.
  assert.equal((await program.line(/^(\d+)$/))[1], '56')
})

test('no port is given twice', async () => {
  const ports = new Set<number>()
  for (let count = 0; count < 200; count++) ports.add(await freePort())
  assert.equal(ports.size, 200)
})
