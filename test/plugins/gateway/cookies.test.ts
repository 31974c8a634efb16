import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { User } from '../../../plugins/auth/index.ts'
import type { Asked } from '../../../plugins/gateway/asked.ts'
import { cookiesOf, withoutCookie } from '../../../plugins/gateway/cookies.ts'
import { responseFields } from '../../../plugins/gateway/response-headers.ts'
import { GatewaySessions } from '../../../plugins/gateway/sessions.ts'
import { MemoryRecords } from '../../../plugins/state/memory-records.ts'

const NAME = '__Host-tunnel-session'
const PREFIX = '/api/tunnel/machines/home/http/80'
const HOST: Asked = { form: 'host', machine: 'home', port: '80', path: '/', prefix: '', owner: 'tag' }
const pathOf = (path: string): Asked => ({ form: 'path', machine: 'home', port: '80', path, prefix: PREFIX })

/** A field of a service's as a caller gets it. */
function told(asked: Asked, name: string, value: string): string | undefined {
  const head = { status: 200, statusText: 'OK', headers: [[name, value]] as [string, string][] }
  const [first, kept] = responseFields(head, asked)
  return first === name ? kept : undefined
}

test("of several cookies with the gateway's name the one that opens the host is found, wherever it stands", async () => {
  const sessions = new GatewaySessions(new MemoryRecords(Date.now, 200), 60_000)
  const user: User = { sub: 'alice', tier: 'free', roles: [], expiresAtMs: Date.now() + 60_000 }
  const { secret } = await sessions.make(user, 'home', HOST)
  const { secret: other } = await sessions.make(user, 'home', { ...HOST, port: '81' })
  const find = (header: string) => sessions.find(cookiesOf(header), HOST)
  const headers = [
    `${NAME}=${secret}`,
    `a=1; ${NAME}=evil; ${NAME}=${other}; ${NAME} = ${secret} `,
    `$Version=1; ${NAME}="${secret}"; ${NAME}=${secret}; ${NAME}=; ${NAME}`,
  ]
  for (const header of headers) {
    assert.ok((await find(header)) !== undefined, header)
    assert.ok(!withoutCookie(header).includes(secret), header)
  }
  for (const header of [`${NAME}=${other}`, `${NAME}="${secret}"`, `${NAME.toLowerCase()}=${secret}`])
    assert.equal(await find(header), undefined, header)
  const many = Array.from({ length: 300 }, (_, index) => `${NAME}=${'x'.repeat(30)}${index}`).join(';')
  assert.equal(cookiesOf(many).length, 8)
})

test("a service on a host sets cookies for that host alone, and none by the gateway's name", () => {
  const cases: [string, string | undefined][] = [
    ['a=1; Path=/; Domain=tunnel.example; Secure', 'a=1; Path=/; Secure'],
    ['a=1; DOMAIN = .tunnel.example;domain', 'a=1'],
    ['__Host-a=1; Secure; Path=/', '__Host-a=1; Secure; Path=/'],
    [`${NAME}=x; Secure; Path=/`, undefined],
    // Without a name: it is sent as its value alone.
    [`=${NAME}=x; Secure; Path=/`, undefined],
    [` = ${NAME}=x`, undefined],
    [NAME, undefined],
  ]
  for (const [given, expected] of cases) assert.equal(told(HOST, 'Set-Cookie', given), expected, given)
})

test('a service in the form by path sets cookies for what is under its own prefix alone', () => {
  const cases: [path: string, given: string, expected: string][] = [
    ['/', 'a=1; Path=/', `a=1; Path=${PREFIX}`],
    ['/', 'a=1', `a=1; Path=${PREFIX}`],
    ['/app/in?next=/other/x', 'a=1; HttpOnly', `a=1; HttpOnly; Path=${PREFIX}/app`],
    ['/', 'a=1; Path=/app; Secure', `a=1; Secure; Path=${PREFIX}/app`],
    ['/', `a=1; Path=${PREFIX}/app`, `a=1; Path=${PREFIX}/app`],
    ['/', `a=1; Path=${PREFIX}00`, `a=1; Path=${PREFIX}${PREFIX}00`],
    ['/', 'a=1; Path=/x; path = /api; Domain=tunnel.example', `a=1; Path=${PREFIX}/api`],
    ['/x/y', 'a=1; Path=x', `a=1; Path=${PREFIX}/x`],
  ]
  for (const [path, given, expected] of cases)
    assert.equal(told(pathOf(path), 'Set-Cookie', given), expected, given)
})

test('a service on a host clears what a browser keeps of that host, and no cookies, which are those of all hosts', () => {
  const cases: [string, string | undefined][] = [
    ['"cookies"', undefined],
    ['"cache","cookies" , "storage"', '"cache", "storage"'],
    ['"*"', '"cache", "storage", "executionContexts"'],
  ]
  for (const [given, expected] of cases) assert.equal(told(HOST, 'Clear-Site-Data', given), expected, given)
  assert.equal(told(pathOf('/'), 'Clear-Site-Data', '"cache"'), undefined)
})
