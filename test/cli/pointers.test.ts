import assert from 'node:assert/strict'
import test from 'node:test'
import { commandOf } from '../../cli/commands.ts'
import { accessFrom } from '../../cli/credentials.ts'
import { describeFailure, UsageError } from '../../cli/failure.ts'
import { missingSpeedUps } from '../../cli/native.ts'
import { run } from '../../cli/overview.ts'
import { asDetails, asSentence } from '../../cli/terminal-log.ts'
import { createLogger } from '../../plugins/logging/logger.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { tempFolder } from '../support/tree.ts'

test('what people type by habit leads to the command that does it', async () => {
  for (const name of ['ls', 'list']) assert.equal(commandOf([name]).command, 'machines')
  for (const [word, command] of [
    ['scp', 'tunnel cp'],
    ['port-forward', 'tunnel forward'],
    ['proxy', 'tunnel socks'],
  ] as const) {
    await assert.rejects(run([word]), (error) => {
      assert.ok(error instanceof UsageError)
      assert.ok(error.message.includes(command), error.message)
      return true
    })
  }
})

test('before any proxy has run here, what is missing is named as the next step', async (t) => {
  const env = { XDG_STATE_HOME: await tempFolder(t) }
  const { token } = accessFrom({}, env)
  assert.ok(typeof token === 'function')
  await assert.rejects(
    async () => token({}),
    (error) => {
      assert.ok(error instanceof TunnelError)
      const { code, exitStatus, advice } = describeFailure('tunnel ssh', error)
      assert.deepEqual([code, exitStatus], ['TOKEN_MISSING', 3])
      assert.match(advice, /^start `tunnel server` first/)
      return true
    },
  )
  const refused = new TunnelError('CONNECT_REFUSED', 'nobody listens', { hop: 'proxy' })
  assert.match(describeFailure('tunnel ssh', refused).advice, /`tunnel server` starts one/)
})

test('on a terminal a line of the log is a sentence', () => {
  const lines: string[] = []
  const stream = { write: (line: string) => void lines.push(line) }
  const log = createLogger({ level: 'info' }, stream)
  log.warn({ context: {} }, 'slow')
  log.error({ err: new Error('disk') }, 'broken\u001b[2J')
  log.child({ userId: 'alice' }).info({ context: { machine: 'home', parts: [1] } }, 'stream over')
  lines.push('not JSON\n')
  assert.deepEqual(lines.map(asSentence), [
    'warning: slow\n',
    'error: broken\ufffd[2J: disk\n',
    'info: stream over\n',
    'not JSON\n',
  ])
  const [slow, broken, over, other] = lines.map(asDetails)
  assert.match(slow ?? '', /^\d\d:\d\d:\d\d WARN slow\n$/)
  assert.match(broken ?? '', /^\S+ ERROR broken\ufffd\[2J: disk\n$/)
  assert.match(over ?? '', /^\S+ INFO stream over \(alice, machine=home, parts=\[1\]\)\n$/)
  assert.equal(other, 'not JSON\n')
})

test('a native part that is missing is said', () => {
  assert.deepEqual(
    missingSpeedUps(() => true),
    [],
  )
  assert.match(missingSpeedUps(() => false).join(), /bufferutil is missing/)
})
