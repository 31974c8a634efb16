import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkReader } from '../../../plugins/metrics/access.ts'
import type { MetricsOptions } from '../../../plugins/metrics/options.ts'
import type { TunnelError } from '../../../protocol/codec/errors.ts'
import { start } from './reading.ts'

const TOKEN = 'a-token-for-prometheus'

function refusalOf(options: MetricsOptions, remoteAddress: string, headers: Record<string, string> = {}) {
  try {
    const given = { host: 'localhost:3001', ...headers }
    checkReader({ behindProxy: false, ...options }, { remoteAddress, headers: given })
    return undefined
  } catch (error) {
    return (error as TunnelError).code
  }
}

test('this machine reads without a token, another needs one, unless anyone may', () => {
  const closed: MetricsOptions = { access: 'loopback' }
  const open: MetricsOptions = { access: 'any' }
  const keyed: MetricsOptions = { access: 'loopback', token: TOKEN }
  for (const address of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1']) {
    assert.equal(refusalOf(closed, address), undefined)
  }
  for (const address of ['10.0.0.1', '128.0.0.1', '::ffff:10.0.0.1', '::2', '1127.0.0.1', '']) {
    assert.equal(refusalOf(closed, address), 'TOKEN_MISSING', address)
    assert.equal(refusalOf(open, address), undefined)
    assert.equal(refusalOf(keyed, address, { authorization: `Bearer ${TOKEN}` }), undefined)
    assert.equal(refusalOf(keyed, address, { authorization: `Bearer ${TOKEN}x` }), 'TOKEN_INVALID')
    assert.equal(refusalOf(keyed, address, { authorization: `Basic ${TOKEN}` }), 'TOKEN_INVALID')
    assert.equal(refusalOf(closed, address, { authorization: 'Bearer undefined' }), 'TOKEN_INVALID')
  }
})

test('a page whose name was made to lead to this machine is not on it', () => {
  for (const host of ['localhost', 'LOCALHOST:3001', '127.0.0.1:3001', '[::1]:3001'])
    assert.equal(refusalOf({ access: 'loopback' }, '127.0.0.1', { host }), undefined, host)
  for (const host of ['evil.example', '127.0.0.1.evil.example', 'localhost.evil.example:3001', ''])
    assert.equal(refusalOf({ access: 'loopback' }, '127.0.0.1', { host }), 'TOKEN_MISSING', host)
})

test('behind a reverse proxy nobody is on this machine, whatever headers it adds', () => {
  const refused = () =>
    checkReader({ access: 'loopback', behindProxy: true }, { remoteAddress: '127.0.0.1', headers: {} })
  assert.throws(refused, { code: 'TOKEN_MISSING' })
})

test('who comes through a reverse proxy on this machine is not on this machine', async (t) => {
  const app = await start(t)
  for (const header of ['x-forwarded-for', 'forwarded', 'x-real-ip', 'via']) {
    const answer = await app.inject({ url: '/api/tunnel/metrics', headers: { [header]: '127.0.0.1' } })
    assert.equal(answer.statusCode, 401, header)
    assert.equal(answer.json<{ code: string }>().code, 'TOKEN_MISSING')
  }
  const far = await app.inject({ url: '/api/tunnel/metrics', remoteAddress: '203.0.113.9' })
  assert.equal(far.statusCode, 401)
})
