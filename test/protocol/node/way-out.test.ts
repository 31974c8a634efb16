import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type ServerOptions } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { dirname, join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { addressOf } from '../../../dial/addresses.ts'
import { callProxy } from '../../../dial/api.ts'
import { pinOf } from '../../../protocol/node/certificate.ts'
import { dialWebSocket } from '../../../protocol/node/dial-websocket.ts'
import { fetchBy } from '../../../protocol/node/http-client.ts'
import type { TlsOptions } from '../../../protocol/options.ts'
import { type Certificate, makeCertificate } from '../../support/certificate.ts'
import { startConnectProxy } from '../../support/connect-proxy.ts'
import { listenTcp, until } from '../../support/proxy.ts'

const files = ({ certFile, keyFile }: Certificate) => ({
  cert: readFileSync(certFile),
  key: readFileSync(keyFile),
})

/** An https server that answers 200 to whoever gets so far; counts them. */
async function serve(t: TestContext, options: ServerOptions) {
  let asked = 0
  const server = createServer(options, (_request, response) => {
    asked++
    response.setHeader('content-type', 'application/json').end('[]')
  })
  server.listen(0)
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `https://localhost:${(server.address() as AddressInfo).port}`, asked: () => asked }
}

/** How a link and a question to a route fail there. */
async function tried(url: string, tls: Partial<TlsOptions>, proxy = 'none') {
  const reach = {
    network: { transport: 'websocket', proxy },
    tls: { minVersion: 'TLSv1.3', ...tls },
  } as const
  const address = addressOf(url)
  const asked = callProxy([address], { route: 'machines', timeoutMs: 5_000, fetch: fetchBy(reach) })
  const dialled = dialWebSocket(address.link, { timeoutMs: 5_000, maxFrameBytes: 131_072, reach })
  const [route, link] = await Promise.allSettled([asked, dialled])
  const told = (settled: PromiseSettledResult<unknown>) =>
    settled.status === 'fulfilled' ? 'answered' : (settled.reason as { code: string; message: string })
  return { route: told(route), link: told(link) }
}

/** Both fail with the same code and text. */
async function bothFail(code: string, message: RegExp, ...args: Parameters<typeof tried>): Promise<void> {
  for (const [what, error] of Object.entries(await tried(...args))) {
    assert.notEqual(error, 'answered', what)
    const { code: found, message: text } = error as { code: string; message: string }
    assert.equal(found, code, `${what}: ${text}`)
    assert.match(text, message)
  }
}

/** What answers is no tunnel proxy, but it was asked: TLS let it be. */
async function bothPass(...args: Parameters<typeof tried>): Promise<void> {
  const { route, link } = await tried(...args)
  assert.equal(route, 'answered', JSON.stringify(route))
  assert.match((link as { message: string }).message, /answered 200, it is not a tunnel proxy/)
}

/** The same key with other dates; undefined where this openssl does not make such. */
function dated({ certFile, keyFile }: Certificate, from: string, to: string): string | undefined {
  const folder = dirname(certFile)
  const [config, request, out] = ['ca.cnf', 'request.pem', 'dated.pem'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ]
  const section = `[ca]\ndefault_ca=own\n[own]\ndatabase=${folder}/index\nserial=${folder}/serial\nnew_certs_dir=${folder}
default_md=sha256\npolicy=any\nx509_extensions=names\n[any]\ncommonName=supplied\n[names]\nsubjectAltName=DNS:localhost\n`
  writeFileSync(config, section)
  writeFileSync(join(folder, 'index'), '')
  writeFileSync(join(folder, 'serial'), '01\n')
  spawnSync('openssl', ['req', '-new', '-key', keyFile, '-subj', '/CN=localhost', '-out', request])
  const words = [
    'ca',
    '-batch',
    '-selfsign',
    '-config',
    config,
    '-keyfile',
    keyFile,
    '-in',
    request,
    '-out',
    out,
  ]
  const made = spawnSync('openssl', [...words, '-notext', '-startdate', from, '-enddate', to])
  return made.status === 0 ? out : undefined
}

test('each fault of a certificate has its code and says what is wrong, for links and routes alike', async (t) => {
  const made = await makeCertificate(t)
  if (made === undefined) return t.skip('there is no openssl to make a certificate with')
  const good = await serve(t, files(made))
  const pin = pinOf(new X509Certificate(readFileSync(made.certFile)))
  const ca = made.certFile

  await bothFail('CERTIFICATE_UNTRUSTED', /is signed by itself/, good.url, {})
  await bothFail(
    'CERTIFICATE_WRONG_HOST',
    /is for localhost, and not/,
    good.url.replace('localhost', '127.0.0.1'),
    { ca },
  )
  const otherPin = `sha256//${Buffer.alloc(32).toString('base64')}`
  await bothFail('CERTIFICATE_NOT_PINNED', new RegExp(`is ${pin.replaceAll(/[/+]/g, '.')}`), good.url, {
    ca,
    pin: otherPin,
  })
  await bothFail('CERTIFICATE_UNTRUSTED', /itself/, good.url, { pin })
  assert.equal(good.asked(), 0, 'nothing was sent to any of them')
  await bothPass(good.url, { ca, pin: `${otherPin};${pin}` })

  for (const [code, message, from, to] of [
    ['CERTIFICATE_EXPIRED', /expired on 2001-.*; it is 20/, '20000101000000Z', '20010101000000Z'],
    [
      'CERTIFICATE_NOT_YET_VALID',
      /is good from 2090-.*this computer's clock says 20/,
      '20900101000000Z',
      '20910101000000Z',
    ],
  ] as const) {
    const certFile = dated(made, from, to)
    assert.ok(certFile)
    const { url } = await serve(t, files({ ...made, certFile }))
    await bothFail(code, message, url, { ca: certFile })
  }
})

test('a client certificate is shown, an older TLS spoken where that is allowed, and a wrong file named', async (t) => {
  const made = await makeCertificate(t)
  if (made === undefined) return t.skip('there is no openssl to make a certificate with')
  const { certFile: ca, keyFile } = made
  const strict = await serve(t, { ...files(made), requestCert: true, ca: readFileSync(ca) })
  await bothFail('TLS_FAILED', /asks for a client certificate/, strict.url, { ca })
  await bothPass(strict.url, { ca, cert: ca, key: keyFile })
  const old = await serve(t, { ...files(made), maxVersion: 'TLSv1.2' })
  await bothFail('TLS_FAILED', /tls\.minVersion=TLSv1\.2/, old.url, { ca })
  await bothPass(old.url, { ca, minVersion: 'TLSv1.2' })
  for (const [tls, message] of [
    [{ ca: '/nowhere.pem' }, /^tls\.ca: \/nowhere\.pem cannot be read \(ENOENT\)/],
    [{ ca: '/etc/hostname' }, /nothing in PEM form/],
    [{ cert: ca }, /belong together/],
  ] as const)
    await bothFail('CONFIG_INVALID', message, old.url, tls)
  await bothFail('CONFIG_INVALID', /has no TLS/, 'http://127.0.0.1:1', { pin: `sha256//${'A'.repeat(43)}=` })
})

test('an HTTP proxy opens the way; what it does otherwise is told, and leaves no socket', async (t) => {
  const made = await makeCertificate(t)
  if (made === undefined) return t.skip('there is no openssl to make a certificate with')
  const ca = made.certFile
  const { url } = await serve(t, files(made))
  const { at, seen } = await startConnectProxy(t, 'me:p@ss word')

  await bothPass(url, { ca }, `http://me:p%40ss%20word@${at}`)
  assert.deepEqual(new Set(seen), new Set([`CONNECT ${new URL(url).host}`]))
  await bothFail('HTTP_PROXY_AUTH_REQUIRED', /asks for a name and a password/, url, { ca }, `http://${at}`)
  await bothFail('HTTP_PROXY_AUTH_REQUIRED', /does not accept.*URL$/, url, { ca }, `http://me:wrong@${at}`)
  await bothFail(
    'HTTP_PROXY_FAILED',
    /answered 403/,
    'https://localhost:22',
    { ca },
    `http://me:p%40ss%20word@${at}`,
  )
  await bothFail('HTTP_PROXY_FAILED', /ECONNREFUSED/, url, { ca }, 'http://127.0.0.1:1')
  for (const wrong of ['socks5://127.0.0.1:1080', 'nonsense', 'ftp://secret@x'])
    await bothFail('CONFIG_INVALID', /is not the URL of an HTTP proxy(?!.*secret)/, url, { ca }, wrong)
  // A plain address: the proxy itself answers its requests.
  const { route } = await tried('http://plain.invalid', {}, `http://${at}`)
  assert.equal(route, 'answered')
  assert.ok(seen.includes('GET http://plain.invalid/api/tunnel/machines'))

  const sockets = new Set<Socket>()
  const saying = (text: string) =>
    listenTcp(t, (socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket)).once('end', () => socket.end())
      socket.resume().once('data', () => socket.write(text))
    })
  await bothFail(
    'HTTP_PROXY_FAILED',
    /does not answer as one/,
    url,
    { ca },
    `http://${await saying('220 ready\r\n')}`,
  )
  const endless = await saying(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}`)
  await bothFail('HTTP_PROXY_FAILED', /does not answer as one/, url, { ca }, `http://${endless}`)
  const silent = await saying('')
  const reach = {
    network: { transport: 'websocket', proxy: `http://${silent}` },
    tls: { minVersion: 'TLSv1.3', ca },
  } as const
  await until(() => sockets.size === 0)
  const abort = new AbortController()
  const options = { timeoutMs: 5_000, maxFrameBytes: 131_072, reach, signal: abort.signal }
  const dialled = dialWebSocket(addressOf(url).link, options)
  await until(() => sockets.size === 1)
  abort.abort()
  await assert.rejects(dialled, { code: 'ABORTED' })
  await until(() => sockets.size === 0)
})
