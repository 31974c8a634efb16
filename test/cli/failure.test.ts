import assert from 'node:assert/strict'
import test from 'node:test'
import { describeFailure, renderFailure, UsageError } from '../../cli/failure.ts'
import { ERROR_KINDS, type ErrorCode, type Hop, TunnelError } from '../../protocol/codec/errors.ts'

test('every code has an exit status by what the person can do about it', () => {
  const statusOf = (code: ErrorCode) =>
    describeFailure('tunnel x', new TunnelError(code, 'no', { hop: 'client' })).exitStatus
  for (const code of Object.keys(ERROR_KINDS) as ErrorCode[])
    assert.ok(statusOf(code) >= 1 && statusOf(code) <= 5, code)
  assert.deepEqual(
    (['INTERNAL', 'CONFIG_INVALID', 'TOKEN_EXPIRED', 'MACHINE_OFFLINE', 'RATE_LIMITED'] as const).map(
      statusOf,
    ),
    [1, 2, 3, 4, 5],
  )
})

test('an error is one line: what, where, its code, what to try, and when', () => {
  const error = new TunnelError('RATE_LIMITED', 'too many\n  streams', { hop: 'proxy', retryAfterMs: 1_200 })
  const line = renderFailure(describeFailure('tunnel exec', error))
  assert.equal(
    line,
    'tunnel exec: too many; streams (proxy, RATE_LIMITED): wait, or use a token of a higher tier; try again in 2 s\n',
  )
})

test('a stream that is unknown tells who was restarted', () => {
  const adviceOf = (hop: Hop) =>
    describeFailure('tunnel x', new TunnelError('UNKNOWN_STREAM', 'no such stream', { hop })).advice
  assert.match(adviceOf('agent'), /^the agent on the machine was restarted/)
  assert.match(adviceOf('proxy'), /^the proxy was restarted/)
  assert.match(adviceOf('link'), /^the other end was restarted/)
})

test('what a peer says cannot move the cursor, and makes no second line', () => {
  const error = new TunnelError('FORBIDDEN', 'no\u001b[2J\u0007\r\nroot logged in\u0085', { hop: 'proxy' })
  const line = renderFailure(describeFailure('tunnel x', error))
  // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be there.
  assert.match(line, /^[^\u0000-\u001f\u007f-\u009f]+\n$/)
  assert.match(line, /root logged in/)
})

test('--verbose tells the causes, --json the same as JSON', () => {
  const cause = Object.assign(new Error('connect refused', { cause: new Error('deepest') }), {
    code: 'ECONNREFUSED',
  })
  const failure = describeFailure(
    'tunnel x',
    new TunnelError('CONNECT_REFUSED', 'no answer', { cause, hop: 'client' }),
  )
  const lines = renderFailure(failure, { verbose: true }).split('\n')
  assert.deepEqual(lines.slice(1), ['  because: ECONNREFUSED: connect refused', '  because: deepest', ''])
  const { error } = JSON.parse(renderFailure(failure, { json: true })) as { error: Record<string, unknown> }
  assert.equal(error.code, 'CONNECT_REFUSED')
  assert.equal(error.exitStatus, 4)
  assert.equal('causes' in error, false)
})

test('an error that is none of ours is INTERNAL and tells its own text', () => {
  const failure = describeFailure('tunnel x', new TypeError('x is not a function'))
  assert.equal(failure.code, 'INTERNAL')
  assert.equal(failure.message, 'x is not a function')
  assert.equal(describeFailure('tunnel x', new UsageError('what?')).exitStatus, 2)
})
