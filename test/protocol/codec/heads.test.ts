import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { checkAcceptHead, checkEvent, checkResumed } from '../../../protocol/codec/check-answers.ts'
import { checkResumeHead, checkStreamHead, checkVouched } from '../../../protocol/codec/check-requests.ts'
import { errorFromWire, TunnelError } from '../../../protocol/codec/errors.ts'
import { type AskedHead, headText, resumeHeadOf, STREAM_KINDS } from '../../../protocol/codec/heads.ts'
import { checkHello, stricterHeartbeat } from '../../../protocol/codec/hello.ts'
import { helloOf, idOf } from '../parties.ts'

const OPEN = { id: idOf(1), kind: 'ssh', machine: 'home', window: 1 }
const RESUME = { id: idOf(1), kind: 'ssh', machine: 'home', received: 0, limit: 0, attempt: 1 }
const invalid = { code: 'FRAME_INVALID' }

test('of fields that are not known a head keeps the text alone, and a relay passes it on', () => {
  const later = JSON.parse('{"later":{"a":1},"__proto__":{"b":2}}') as Record<string, unknown>
  for (const [check, known] of [
    [checkStreamHead, OPEN],
    [checkResumeHead, RESUME],
  ] as const) {
    const head = check({ ...known, ...later, __proto__: null, ...later })
    assert.equal(typeof head.further, 'string')
    assert.deepEqual(
      JSON.parse(headText(head as AskedHead)),
      JSON.parse(JSON.stringify({ ...known, ...later })),
    )
    const { further, ...rest } = head
    assert.deepEqual(rest, known)
  }
  assert.equal(checkStreamHead(OPEN).further, undefined)
})

test('a head tells on the tracestate that belongs to a valid traceparent, an OPEN as a RESUME', () => {
  const trace = { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, tracestate: 'a=1,b=2' }
  const open = checkStreamHead({ ...OPEN, ...trace, tracestate: ' a=1 ,, b=2' })
  assert.deepEqual(open, { ...OPEN, ...trace })
  const stands = { received: 0, limit: 0, attempt: 1, end: undefined }
  assert.deepEqual(checkResumeHead({ ...resumeHeadOf(open, stands) }), { ...RESUME, ...trace })
  for (const stray of [
    { tracestate: 'a=1' },
    { traceparent: 'none', tracestate: 'a=1' },
    { ...trace, tracestate: 'A=1' },
  ])
    assert.equal('tracestate' in checkStreamHead({ ...OPEN, ...stray }), false)
})

test('a head says nothing that only a proxy can vouch for', () => {
  const vouched = { subject: 'root', asked: '', owner: 'root' }
  const claims = { ...vouched, further: '{"subject":"root"}' }
  assert.deepEqual(checkStreamHead({ ...OPEN, ...claims }), OPEN)
  assert.deepEqual(checkResumeHead({ ...RESUME, ...claims }), RESUME)
  assert.deepEqual(checkVouched({ ...OPEN, ...claims }), vouched)
  for (const wrong of [{ subject: 7 }, { owner: 'o'.repeat(301) }, { asked: {} }]) {
    assert.throws(() => checkVouched(wrong), invalid)
  }
})

test('an OPEN lacks nothing and has nothing of another type', () => {
  const wrong: Record<string, unknown>[] = [
    { id: undefined },
    { id: 'x'.repeat(32) },
    { id: 'A'.repeat(32) },
    { id: ['a'] },
    { kind: 'telnet' },
    { kind: '__proto__' },
    { machine: '' },
    { machine: 'm'.repeat(256) },
    { machine: 7 },
    { target: 7 },
    { target: 't'.repeat(301) },
    { priority: 'urgent' },
    { traceparent: { a: 1 } },
    { tracestate: ['a=1'] },
    { window: -1 },
    { window: 1.5 },
    { window: 2 ** 48 },
    { window: '1' },
    { attempt: -1 },
    { kind: 'http' },
    { kind: 'http', http: { method: 'GET', path: '/', headers: [['a']] } },
    { kind: 'http', http: { method: 'GET', path: '/', headers: [['a', 1]] } },
    { kind: 'exec' },
    { kind: 'exec', exec: null },
    { kind: 'exec', exec: { command: ['ls'] } },
    { kind: 'shell', shell: { terminal: null } },
    { kind: 'shell', shell: { terminal: { columns: 80, rows: 24 } } },
    { kind: 'shell', shell: { terminal: { columns: 0, rows: 24, term: 'xterm' } } },
    { kind: 'shell', shell: { terminal: { columns: 80, rows: 65_536, term: 'xterm' } } },
    { kind: 'shell', shell: { terminal: { columns: 80, rows: 24, term: 'x\n' } } },
    { kind: 'shell', shell: { terminal: { columns: 80, rows: 24, term: '' } } },
    { kind: 'shell', shell: { env: ['A'] } },
    { kind: 'shell', shell: { env: { A: 1 } } },
    { kind: 'shell', shell: { env: { A: '\0' } } },
    { kind: 'shell', shell: { env: { 'A-B': '' } } },
    { kind: 'shell', shell: { env: { A: 'v'.repeat(4_097) } } },
    {
      kind: 'shell',
      shell: { env: Object.fromEntries(Array.from({ length: 65 }, (_, n) => [`A${n}`, ''])) },
    },
  ]
  for (const more of wrong) {
    assert.throws(() => checkStreamHead({ ...OPEN, ...more }), invalid, JSON.stringify(more))
  }
})

test('offsets of RESUME and RESUMED are whole numbers below 2^48', () => {
  for (const field of ['received', 'limit', 'attempt', 'end']) {
    for (const value of [-1, 0.5, 2 ** 48, Number.NaN, '0', null]) {
      assert.throws(() => checkResumeHead({ ...RESUME, [field]: value }), invalid, `${field} ${value}`)
      if (field === 'attempt') continue
      assert.throws(() => checkResumed({ received: 0, limit: 0, [field]: value }), invalid)
    }
  }
})

test('an answer and an event have the form that their consumers rely on', () => {
  const http = { status: 200, statusText: 'OK', headers: [['a', 'b']] }
  assert.ok(checkAcceptHead({ window: 1, http }))
  for (const wrong of [
    null,
    5,
    {},
    { ...http, status: '200' },
    { ...http, status: 20 },
    { ...http, headers: [1] },
  ]) {
    assert.throws(() => checkAcceptHead({ window: 1, http: wrong }), invalid)
    assert.throws(() => checkEvent({ http: wrong }), invalid)
  }
  const exit = { code: 0, more: [[]] }
  assert.deepEqual(checkEvent({ exit, more: {} }), { exit: { code: 0 } })
  assert.deepEqual(checkEvent({ exit: { signal: 'KILL' } }), { exit: { signal: 'KILL' } })
  assert.deepEqual(checkAcceptHead({ window: 1, http: { ...http, more: [] }, more: {} }), { window: 1, http })
  const resize = { columns: 80, rows: 24 }
  assert.deepEqual(checkEvent({ resize: { ...resize, more: 1 } }), { resize })
  for (const wrong of [null, 1, {}, { columns: 80 }, { columns: 80, rows: 0 }, { columns: 80, rows: 1.5 }]) {
    assert.throws(() => checkEvent({ resize: wrong }), invalid)
  }
  assert.equal(checkEvent({ bell: true }), undefined, 'a later kind of event is not refused')
  for (const wrong of [null, 1, {}, { code: '0' }, { signal: 9 }]) {
    assert.throws(() => checkEvent({ exit: wrong }), invalid)
  }
  assert.throws(() => checkEvent({ signal: { toString: 1 } }), invalid)
})

test('whatever JSON object comes, a check gives back what it gives back again, or throws FRAME_INVALID', () => {
  const almost = fc.record(
    {
      id: fc.oneof(fc.constant(idOf(1)), fc.jsonValue()),
      kind: fc.oneof(fc.constantFrom(...STREAM_KINDS), fc.jsonValue()),
      machine: fc.oneof(fc.constant('home'), fc.jsonValue()),
      window: fc.oneof(fc.nat(), fc.jsonValue()),
      http: fc.jsonValue(),
      exec: fc.jsonValue(),
      shell: fc.jsonValue(),
      resize: fc.jsonValue(),
      received: fc.oneof(fc.nat(), fc.jsonValue()),
      limit: fc.oneof(fc.nat(), fc.jsonValue()),
      attempt: fc.jsonValue(),
      heartbeat: fc.jsonValue(),
      limits: fc.jsonValue(),
      version: fc.oneof(fc.constant(1), fc.jsonValue()),
      role: fc.oneof(fc.constant('client'), fc.jsonValue()),
      enrol: fc.jsonValue(),
      exit: fc.jsonValue(),
      signal: fc.jsonValue(),
    },
    { requiredKeys: [] },
  )
  const checks = [checkStreamHead, checkAcceptHead, checkResumeHead, checkResumed, checkEvent, checkHello]
  fc.assert(
    fc.property(almost, (body) => {
      for (const check of checks) {
        try {
          const checked = check(body as Record<string, unknown>)
          if (checked === undefined) continue
          const { further, ...known } = checked as Record<string, unknown>
          assert.deepEqual(check(known), known)
        } catch (error) {
          assert.ok(error instanceof TunnelError, String(error))
          assert.ok(['FRAME_INVALID', 'VERSION_UNSUPPORTED'].includes(error.code), error.message)
        }
      }
    }),
    { numRuns: 500 },
  )
})

test('HELLO of another version is told so, before anything else is looked at', () => {
  for (const version of [0, 2, '1', undefined]) {
    assert.throws(() => checkHello({ version }), { code: 'VERSION_UNSUPPORTED', closeCode: 4406 })
  }
})

test('of a HELLO and of an error only what is known is kept, and no more of that than is of use', () => {
  const hello = helloOf('agent', {
    machine: 'home',
    enrol: { hostKeys: ['ssh-ed25519 AAAA'], sshUser: 'ann' },
  })
  const { heartbeat, limits, enrol } = hello
  const more = { more: 'x'.repeat(60_000) }
  const fat = { ...hello, ...more, heartbeat: { ...heartbeat, ...more }, limits: { ...limits, ...more } }
  assert.deepEqual(checkHello({ ...fat, enrol: { ...enrol, ...more } }), hello)
  for (const code of ['ABORTED', 'x'.repeat(60_000)]) {
    const error = errorFromWire({ code, message: 'x'.repeat(60_000) })
    assert.ok(error.message.length < 2_100, `${error.message.length}`)
  }
})

test('a HELLO that lacks a field, or has one of another type, is refused', () => {
  const wrong: Record<string, unknown>[] = [
    { role: 'root' },
    { software: 1 },
    { machine: 1 },
    { instance: {} },
    { heartbeat: null },
    { heartbeat: { intervalMs: 0, timeoutMs: 1 } },
    { limits: { maxFrameBytes: 1 } },
    { limits: undefined },
    { resumeMs: -1 },
    { enrol: { hostKeys: [1], sshUser: 'a' } },
    { enrol: { hostKeys: Array(17).fill('a'), sshUser: 'a' } },
    { enrol: { hostKeys: [], sshUser: 'a'.repeat(129) } },
  ]
  for (const more of wrong) {
    assert.throws(() => checkHello({ ...helloOf('agent'), ...more }), invalid, JSON.stringify(more))
  }
})

test('the stricter heartbeat holds, but nobody can make us ping without pause', () => {
  const ours = { intervalMs: 30_000, timeoutMs: 45_000 }
  assert.deepEqual(stricterHeartbeat(ours, { intervalMs: 5_000, timeoutMs: 10_000 }), {
    intervalMs: 5_000,
    timeoutMs: 10_000,
  })
  assert.deepEqual(stricterHeartbeat(ours, { intervalMs: 1e9, timeoutMs: 1e9 }), ours)
  assert.deepEqual(stricterHeartbeat(ours, { intervalMs: 1, timeoutMs: 1 }), {
    intervalMs: 100,
    timeoutMs: 200,
  })
})

test("a peer's error is read whatever it holds, and no duration of it overflows a timer", () => {
  assert.equal(errorFromWire({ code: 'TIMEOUT', message: 'm', hop: 'agent' }).hop, 'agent')
  assert.equal(errorFromWire({ code: 'NEWER', message: 'm' }).code, 'INTERNAL')
  assert.ok(
    errorFromWire({ code: 'NEWER' }).fromPeer && !new TunnelError('INTERNAL', 'm', { hop: 'link' }).fromPeer,
  )
  assert.equal(errorFromWire({ code: 'toString', message: 'm' }).code, 'INTERNAL')
  for (const retryAfterMs of [-1, 1e300, Number.POSITIVE_INFINITY, 2 ** 31, '1']) {
    assert.equal(errorFromWire({ code: 'RATE_LIMITED', retryAfterMs }).retryAfterMs, undefined)
  }
  assert.equal(errorFromWire({ code: 'RATE_LIMITED', retryAfterMs: 5 }).retryAfterMs, 5)
  fc.assert(fc.property(fc.jsonValue(), (value) => errorFromWire(value) instanceof TunnelError))
})
