import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startProxy, until } from '../support/proxy.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnel, tunnelLines } from './tunnel.ts'

test('a machine is enrolled with a code that its owner made, and its agent then needs no address and no token', async (t) => {
  const proxy = await startProxy(t)
  const folder = await tempFolder(t)
  const owner = isolated(join(folder, 'owner'), {
    TUNNEL_URL: proxy.url,
    TUNNEL_TOKEN: proxy.tokenOf('alice'),
  })
  const made = await tunnel(['machines', '--enroll', 'home'], { env: owner })
  assert.equal(made.code, 0, made.stderr)
  const line = /^ {2}tunnel (agent enroll \S+ --url \S+)$/m.exec(made.stdout)?.[1]
  assert.ok(line, made.stdout)

  const machine = isolated(join(folder, 'machine'))
  const dir = join(machine.XDG_CONFIG_HOME!, 'ssh-websocket-tunnel')
  if (process.getuid?.() !== 0) {
    // What cannot be kept is not asked for: the code is still good.
    mkdirSync(dir, { recursive: true, mode: 0o500 })
    const readOnly = await tunnel(line.split(' '), { env: machine })
    assert.match(readOnly.stderr, /cannot be written \(permission denied, EACCES\)/)
    chmodSync(dir, 0o700)
  }
  const enrolled = await tunnel(line.split(' '), { env: machine })
  assert.equal(enrolled.code, 0, enrolled.stderr)
  assert.match(enrolled.stdout, /^This machine is home of alice at http/)
  const file = join(dir, 'agent-home.token')
  assert.equal(statSync(file).mode & 0o777, 0o600)
  const token = readFileSync(file, 'utf8').trim()
  assert.ok(!(enrolled.stdout + enrolled.stderr).includes(token))

  const agent = startTunnel(t, ['agent', '--ssh', '127.0.0.1:1'], { env: machine })
  await agent.line(/home is on line/)
  await until(() => proxy.app.machines.find('alice', 'home')?.online === true)

  const again = await tunnel([...line.split(' '), '--json'], { env: machine })
  assert.equal(again.code, 3)
  assert.equal((JSON.parse(again.stderr) as { error: { code: string } }).error.code, 'TICKET_INVALID')
})

test('what a hostile proxy says reaches no file, no configuration of ssh and no line of a shell', async (t) => {
  const names = ['home', 'x\nHost *', '$(touch pwned)', '../../x', 'A', 7]
  const server = createServer((request, response) => {
    const enrolled = { token: 'abc', user: '\u001b[2J', machine: '../../stolen', expiresAt: '2030' }
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(request.method === 'POST' ? enrolled : names.map((name) => ({ name }))))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const folder = await tempFolder(t)
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const env = isolated(folder, { TUNNEL_URL: url, TUNNEL_TOKEN: 'x', HOME: folder })
  const [section, values, enrolled] = await tunnelLines(
    [['ssh-config'], ['completion', '--values', 'machine'], ['agent', 'enroll', 'CODE']],
    env,
  )
  assert.deepEqual(section?.stdout.match(/^Host .*$/gm), ['Host home home.tunnel', 'Host *.tunnel'])
  assert.equal(values?.stdout, 'home\n')
  assert.equal(enrolled?.code, 4, enrolled?.stderr)
  assert.deepEqual(
    readdirSync(folder, { recursive: true }).filter((name) => /stolen|token/.test(String(name))),
    [],
  )
})

test('Ctrl-C before the proxy has answered ends an enrolment at once, and keeps nothing of it', async (t) => {
  let [isAsked, isGone] = [false, false]
  const server = createServer((_request, response) => {
    isAsked = true
    response.once('close', () => {
      isGone = true
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const folder = await tempFolder(t)
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const enrolling = startTunnel(t, ['agent', 'enroll', 'CODE', '--url', url], { env: isolated(folder) })
  await until(() => isAsked)
  enrolling.child.kill('SIGINT')
  const { code, signal } = await enrolling.exit
  assert.deepEqual([code, signal, enrolling.stdout, enrolling.stderr], [null, 'SIGINT', '', ''])
  await until(() => isGone)
  const left = readdirSync(folder, { recursive: true, encoding: 'utf8', withFileTypes: true })
  assert.deepEqual(
    left
      .filter((entry) => !entry.isDirectory() && !entry.parentPath.includes('cache'))
      .map(({ name }) => name),
    [],
  )
})

test('Ctrl-C once the code is used up ends no enrolment: the token is kept, and the agent finds it', async (t) => {
  const proxy = await startProxy(t)
  const folder = await tempFolder(t)
  const made = await proxy.api('alice', 'machines/home/enrolment', { method: 'POST' })
  const { code } = (await made.json()) as { code: string }
  const env = isolated(folder)
  const dir = join(env.XDG_CONFIG_HOME!, 'ssh-websocket-tunnel')
  // Another program changes the configuration, which comes after the token's own file.
  const lock = join(dir, 'config.json.lock')
  mkdirSync(lock, { recursive: true })
  const mark = join(lock, `${process.pid}.0.${hostname()}`)
  writeFileSync(mark, '')
  const enrolling = startTunnel(t, ['agent', 'enroll', code, '--url', proxy.url], { env })
  await until(() => existsSync(join(dir, 'agent-home.token')))
  // Somebody who is impatient: one of them comes while it waits for its turn.
  let pressed = 0
  await until(() => enrolling.child.kill('SIGINT') && ++pressed === 30)
  rmSync(mark)
  const { code: status, signal } = await enrolling.exit
  assert.deepEqual([status, signal], [0, null], enrolling.stderr)
  assert.match(enrolling.stdout, /^This machine is home of alice/)
  const config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as { agents: object }
  assert.deepEqual(Object.keys(config.agents), ['home'])
})
