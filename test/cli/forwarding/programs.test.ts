import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'node:test'
import { run, spawnProgram } from '../../support/process.ts'
import { requireSystem } from '../../support/sshd.ts'
import { findProgram, freePort } from '../../support/system.ts'
import { tempFolder } from '../../support/tree.ts'
import { portOf, startGround } from './forwarding.ts'

const skip = requireSystem('sshd')

test('a database session goes through forward, sealed and inspected', {
  skip: skip ?? requireSystem('redis-server', 'redis-cli'),
}, async (t) => {
  const redisPort = await freePort()
  const folder = await tempFolder(t)
  const args = ['--port', String(redisPort), '--bind', '127.0.0.1', '--save', '', '--dir', folder]
  const redis = spawnProgram(t, 'redis-server', args)
  await redis.line(/Ready to accept connections/)
  const target = `127.0.0.1:${redisPort}`
  const { proxy, start } = await startGround(t, [target])
  const forward = await start(['forward', `0:home:${target}`, `0:home:localhost:${redisPort}`])
  for (const place of [target, `localhost:${redisPort}`]) {
    const session = spawnProgram(t, 'redis-cli', ['-p', String(await portOf(forward, place))], {
      stdin: 'pipe',
    })
    const ask = async (command: string, answer: RegExp): Promise<void> => {
      session.write(`${command}\n`)
      await session.line(answer)
    }
    await ask(`SET ${place} 41`, /^OK$/)
    // The session has a state of its own: what it has begun goes on over the next link.
    await ask('MULTI', /^OK$/)
    await ask(`INCR ${place}`, /^QUEUED$/)
    proxy.cut('client')
    await ask('EXEC', /^42$/)
    await ask(`SETRANGE large:${place} 99999 x`, /^100000$/)
    await ask(`GETRANGE large:${place} 99000 -1`, /^(?:\0|\\x00)*x$/)
    session.end()
    assert.deepEqual(await session.exit, { code: 0, signal: null })
  }
})

const CHROMIUM = ['chromium', 'chromium-browser', 'google-chrome'].find((name) => findProgram(name))

test('a page and what belongs to it are loaded by a browser through socks', {
  skip: skip ?? (CHROMIUM === undefined ? requireSystem('curl') : undefined),
}, async (t) => {
  const parts = Array.from({ length: 40 }, (_, index) => `part${index}.js`)
  const scripts = parts.map((part) => `<script src="/${part}"></script>`).join('')
  const asked = new Set<string>()
  const web = createServer((request, response) => {
    const name = (request.url ?? '').slice(1)
    asked.add(name)
    if (name === '') response.setHeader('content-type', 'text/html')
    const page = `<title>far</title><body>hello ${scripts}<script>document.body.append(window.n)</script></body>`
    response.end(name === '' ? page : 'window.n = (window.n || 0) + 1')
  })
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    web.closeAllConnections()
    web.close()
  })
  const { start } = await startGround(t)
  const port = await portOf(await start(['socks', 'home', '--listen', '0']))
  const url = `http://localhost:${(web.address() as AddressInfo).port}/`
  if (CHROMIUM === undefined) {
    const urls = ['', ...parts].map((part) => `${url}${part}`)
    const { code, stdout } = await run('curl', [
      '-sS',
      '--parallel',
      '--socks5-hostname',
      `127.0.0.1:${port}`,
      ...urls,
    ])
    assert.equal(code, 0)
    assert.match(stdout, /<title>far<\/title>/)
  } else {
    const folder = await tempFolder(t)
    const proxied = [`--proxy-server=socks5://127.0.0.1:${port}`, '--proxy-bypass-list=<-loopback>']
    const quiet = ['--headless', '--disable-gpu', '--no-sandbox', '--disable-background-networking']
    const args = [...quiet, `--user-data-dir=${folder}`, ...proxied, '--dump-dom', url]
    const { code, stdout, stderr } = await run(CHROMIUM, args, { env: { ...process.env, HOME: folder } })
    assert.equal(code, 0, stderr.slice(-2_000))
    assert.match(stdout, /<title>far<\/title>.*40<\/body>/s)
  }
  for (const part of ['', ...parts]) assert.ok(asked.has(part), part)
})
