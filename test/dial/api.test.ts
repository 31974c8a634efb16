import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer, Server as TlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import test, { type TestContext } from 'node:test'
import { addressesOf } from '../../dial/addresses.ts'
import { askPublicKey, callProxy } from '../../dial/api.ts'
import { replaceSystemClock } from '../../protocol/clock.ts'
import { dialWebSocket } from '../../protocol/node/dial-websocket.ts'
import { makeCertificate } from '../support/certificate.ts'
import { startProxy } from '../support/proxy.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

async function listen(t: TestContext, server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const scheme = server instanceof TlsServer ? 'https' : 'http'
  return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const serve = (t: TestContext, listener: RequestListener) => listen(t, createServer(listener))

const question = { route: 'machines', token: 't', timeoutMs: 10_000 }
const dial = (base: string) =>
  dialWebSocket(`${base.replace('http', 'ws')}/api/tunnel/connect`, {
    timeoutMs: 10_000,
    maxFrameBytes: 1_024,
  })

test('a redirect is not followed, and told with the address that it points to', async (t) => {
  let asked = 0
  const other = await serve(t, () => asked++)
  const base = await serve(t, (request, response) => {
    response.writeHead(301, { location: `${other}${request.url}` }).end()
  })
  const told = { code: 'CONNECT_REFUSED', message: new RegExp(`answered 301 and points to ${other}`) }
  await assert.rejects(callProxy(addressesOf(base), question), told)
  await assert.rejects(dial(base), told)
  assert.equal(asked, 0)
})

test('the time of a request is no longer counted when its answer has been read, or there is none', async (t) => {
  const clock = new VirtualClock()
  t.after(replaceSystemClock(clock))
  const base = await serve(t, (request, response) => {
    if (request.url?.endsWith('/machines')) response.end('[]')
    else if (request.url?.endsWith('/gone')) response.socket?.destroy()
    else response.writeHead(request.url?.endsWith('/moved') ? 302 : 500).end('no')
  })
  assert.deepEqual(await callProxy(addressesOf(base), question), [])
  assert.equal(clock.pending, 0)
  for (const route of ['gone', 'moved', 'broken']) {
    await assert.rejects(callProxy(addressesOf(base), { ...question, route }), { code: 'CONNECT_REFUSED' })
    assert.equal(clock.pending, 0, route)
  }
})

test('a certificate that is not accepted is named, and what helps', async (t) => {
  const made = await makeCertificate(t)
  if (made === undefined) return t.skip('there is no openssl to make a certificate with')
  const [cert, key] = [await readFile(made.certFile), await readFile(made.keyFile)]
  const base = await listen(t, createTlsServer({ cert, key }))
  const told = { code: 'CERTIFICATE_UNTRUSTED', suggestion: /--ca FILE/ }
  await assert.rejects(callProxy(addressesOf(base), question), told)
  await assert.rejects(dial(base), told)
})

test('an answer without end is cut off, and one of another form is no answer of a proxy', async (t) => {
  const endless = await serve(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    const more = () => {
      while (response.write('x'.repeat(65_536)));
    }
    response.on('drain', more)
    more()
  })
  await assert.rejects(callProxy(addressesOf(endless), question), { code: 'CONNECT_REFUSED' })
  for (const answer of ['null', '7', '{"publicKey":7}']) {
    const odd = await serve(t, (_request, response) => response.end(answer))
    await assert.rejects(askPublicKey(addressesOf(odd), 't', 10_000), {
      code: 'CONNECT_REFUSED',
      message: /not a tunnel proxy/,
    })
  }
})

test('an address with a name, a password, a query or a fragment is refused without showing them', () => {
  for (const url of [
    'http://me:hunter2@host',
    'http://hunter2@host',
    'http://host?t=hunter2',
    'http://host#hunter2',
  ]) {
    assert.throws(
      () => addressesOf(url),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, 'CONFIG_INVALID')
        assert.doesNotMatch(error.message, /hunter2/)
        return true
      },
    )
  }
})

test('what a reverse proxy answers in our place says what does not run, and what was meant', async (t) => {
  const answering = (status: number) =>
    serve(t, (_request, response) => response.writeHead(status).end('<html>'))
  for (const status of [502, 503, 504]) {
    const url = await answering(status)
    const message = new RegExp(`answered ${status}: the tunnel proxy behind it does not run$`)
    await assert.rejects(callProxy(addressesOf(url), question), { code: 'CONNECT_REFUSED', message })
    const dialled = dialWebSocket(addressesOf(url)[0]!.link, { timeoutMs: 10_000, maxFrameBytes: 131_072 })
    await assert.rejects(dialled, { code: 'CONNECT_REFUSED', message })
  }
  const plain = await answering(400)
  await assert.rejects(callProxy(addressesOf(plain), question), { message: /did you mean https:\/\/\?$/ })
})

test('an intermediary that takes the upgrade away is named as that, and the dial may be repeated', async (t) => {
  const proxy = await startProxy(t)
  // As nginx sends it on without further words.
  const nginx = await serve(t, (request, response) => void relay(request, response))
  async function relay({ url = '', headers }: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = await fetch(`${proxy.url}${url}`, {
      headers: { authorization: headers.authorization ?? '' },
    })
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' })
    response.end(await answer.text())
  }
  const options = { timeoutMs: 10_000, maxFrameBytes: 131_072 }
  const headers = { authorization: `Bearer ${proxy.tokenOf('alice')}`, connection: 'close' }
  const dialled = dialWebSocket(addressesOf(nginx)[0]!.link, { ...options, headers })
  await assert.rejects(dialled, {
    code: 'CONNECT_REFUSED',
    message: /does not pass WebSockets on \(nginx needs: .*Upgrade/,
  })
})
