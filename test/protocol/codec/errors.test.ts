import assert from 'node:assert/strict'
import test from 'node:test'
import {
  asTunnelError,
  ERROR_KINDS,
  type ErrorCode,
  errorFromClose,
  errorFromWire,
  TunnelError,
} from '../../../protocol/codec/errors.ts'

test('an error knows where it arose, however it came here', () => {
  assert.equal(asTunnelError(new RangeError('x'), 'agent').hop, 'agent')
  assert.equal(errorFromWire({ code: 'TIMEOUT', message: 'late', hop: 'ssh' }).hop, 'ssh')
  // A peer of another version may leave it out, or know other places.
  for (const hop of [undefined, 'moon', 7]) assert.equal(errorFromWire({ code: 'TIMEOUT', hop }).hop, 'link')
  assert.equal(errorFromClose(1006, '').hop, 'link')
  assert.deepEqual(new TunnelError('TIMEOUT', 'late', { hop: 'proxy' }).toWire(), {
    code: 'TIMEOUT',
    message: 'late',
    hop: 'proxy',
  })
})

test('what is retryable needs nobody, and may be done twice', () => {
  const retryable = (Object.keys(ERROR_KINDS) as ErrorCode[]).filter(
    (code) => new TunnelError(code, '', { hop: 'proxy' }).retryable,
  )
  for (const code of ['LINK_LOST', 'TIMEOUT', 'RATE_LIMITED', 'QUEUE_FULL', 'SHUTTING_DOWN'] as const)
    assert.ok(retryable.includes(code), code)
  for (const code of [
    'OUTCOME_UNKNOWN',
    'ABORTED',
    'TOKEN_EXPIRED',
    'CONFIG_INVALID',
    'HOST_KEY_CHANGED',
  ] as const)
    assert.ok(!retryable.includes(code), code)
})

test('an error suggests what helps with its code, at its hop, unless whoever made it knows better', () => {
  const at = (hop: 'proxy' | 'agent') => new TunnelError('UNKNOWN_STREAM', 'no', { hop }).suggestion
  assert.match(at('agent'), /^the agent .* was restarted/)
  assert.match(at('proxy'), /^the proxy was restarted/)
  for (const code of ['TOO_MANY_CONNECTIONS', 'RATE_LIMITED'] as const) {
    assert.match(new TunnelError(code, 'no', { hop: 'proxy' }).suggestion, /token of a higher tier/)
    assert.doesNotMatch(new TunnelError(code, 'no', { hop: 'agent' }).suggestion, /token/)
  }
  const own = new TunnelError('TOKEN_MISSING', 'no', { hop: 'client', suggestion: 'unlock the safe' })
  assert.equal(own.suggestion, 'unlock the safe')
})
