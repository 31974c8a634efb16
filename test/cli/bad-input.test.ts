import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'node:test'
import { listenTcp, startProxy } from '../support/proxy.ts'
import { requireSystem, startSshd } from '../support/sshd.ts'
import { freePort } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnelLines } from './tunnel.ts'

const skip = requireSystem('sshd')

const wordsOf = (line: string): string[] => line.split(' ')

test('what goes wrong on the way is one line at the person, with its hop, its code and its status', {
  skip,
}, async (t) => {
  const proxy = await startProxy(t)
  const folder = await tempFolder(t)
  const env = isolated(folder, { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') })
  const agent = await proxy.startAgent('home', 'alice', await startSshd(t))
  /** Runs commands that fail, one after the other, and gives the only line of each. */
  const allFail = async (lines: readonly string[], status: number, more: NodeJS.ProcessEnv = {}) => {
    const printed = await tunnelLines(lines.map(wordsOf), { ...env, ...more })
    for (const [index, { code, stdout, stderr }] of printed.entries()) {
      assert.equal(code, status, `${lines[index]}: ${stderr}`)
      assert.equal(stdout, '')
      assert.match(stderr, /^tunnel \w+: [^\n]+\n$/)
    }
    return printed.map(({ stderr }) => stderr)
  }
  /** The same of one. */
  const failing = async (line: string, status: number, more: NodeJS.ProcessEnv = {}): Promise<string> =>
    (await allFail([line], status, more))[0] ?? ''

  await t.test('an expired token, and none', async () => {
    const expired = proxy.tokenOf('alice', { ttlSeconds: -3_600 })
    const bare = { TUNNEL_TOKEN: undefined, TUNNEL_STATE_DIR: '/nonexistent' }
    const lines = ['machines', 'stdio home', 'request http://home:80/']
    for (const said of await allFail(lines, 3, { TUNNEL_TOKEN: expired }))
      assert.match(said, /\(proxy, TOKEN_EXPIRED\)/)
    for (const said of await allFail(lines, 3, bare)) assert.match(said, /\(client, TOKEN_MISSING\)/)
  })

  await t.test('a port of the machine that refuses', async () => {
    const port = await freePort()
    assert.match(await failing(`request http://home:${port}/`, 4), /\(target, CONNECT_REFUSED\)/)
  })

  await t.test('an SSH server that is not there, seen from its machine', async (t) => {
    const port = await freePort()
    const empty = startTunnel(t, ['agent', '--machine', 'empty', '--ssh', `127.0.0.1:${port}`], { env })
    await empty.line(/no SSH server answers/)
    await empty.line(/on line/)
    assert.match(await failing('stdio empty', 4), /\(agent, CONNECT_REFUSED\)/)
    await empty.stop()
  })

  await t.test('a machine that is off line, and says since when', async () => {
    const words = ['machines', 'stdio empty', 'exec empty -- true', 'machines --forget empty']
    const printed = await tunnelLines([...words, 'stdio empty', 'machines --forget empty'].map(wordsOf), env)
    const [listed, stdio, exec, , ...unknown] = printed
    assert.match(listed?.stdout ?? '', /^empty +off line/m)
    assert.match(stdio?.stderr ?? '', /\(proxy, MACHINE_OFFLINE\)/)
    assert.match(exec?.stderr ?? '', /\(proxy, MACHINE_OFFLINE\)/)
    for (const { stderr } of unknown) assert.match(stderr, /\(proxy, MACHINE_UNKNOWN\)/)
    assert.deepEqual(
      printed.map(({ code }) => code),
      [0, 4, 255, 0, 4, 4],
    )
  })

  await t.test('a user key that sshd does not let in', async (t) => {
    const { port } = await startSshd(t)
    const strange = await proxy.startAgent('strange', 'alice', `127.0.0.1:${port}`)
    assert.match(
      await failing('exec strange -- true', 255),
      /: run "tunnel key --authorize" on it, [^\n]*\(ssh, SSH_AUTH_FAILED\)$/m,
    )
    await strange.close()
  })

  await t.test('a host key that has changed, until its owner trusts it', async (t) => {
    // The same name in front of another sshd: what a machine that was set up anew looks like.
    const anew = await startSshd(t)
    await agent.close()
    await proxy.startAgent('home', 'alice', anew)
    const line = await failing('exec home -- true', 255)
    assert.match(line, /\(ssh, HOST_KEY_CHANGED\): [^\n]*tunnel machines --trust NAME/)
    const lines = ['machines', 'machines --trust home', 'exec home -- echo in']
    const [listed, trusted, entered] = await tunnelLines(lines.map(wordsOf), env)
    assert.match(listed?.stdout ?? '', /^home +HOST KEY CHANGED/m)
    assert.match(trusted?.stdout ?? '', /^home is known by ssh-ed25519 SHA256:\S+/)
    assert.equal(entered?.stdout, 'in\n', entered?.stderr)
  })

  await t.test('a profile that there is not, for every command that reaches a proxy', async () => {
    const commands = ['machines', 'status', 'key', 'stdio home', 'request http://home:80/']
    const lines = commands.map((command) => `${command} --profile nope`)
    for (const told of await allFail(lines, 2)) {
      assert.match(told, /"nope" is not a known profile; known are default, .*\(client, CONFIG_INVALID\)/)
    }
    assert.match(await failing('machines', 2, { TUNNEL_PROFILE: 'nope' }), /"nope"/)
  })

  await t.test(
    'settings of the environment hold for commands too, and their mistakes are named',
    async () => {
      const wrong = { TUNNEL_REQUEST_TIMEOUT_MS: 'abc', TUNNEL_BACKOFF_JITTR: '1' }
      const lines = ['exec home -- true', 'stdio home', 'request http://home:80/']
      for (const told of await allFail(lines, 2, wrong)) {
        assert.match(told, /request\.timeoutMs = "abc" \(environment/)
        assert.match(told, /TUNNEL_BACKOFF_JITTR .*did you mean/)
      }
      const silent = await listenTcp(t, () => {})
      const impatient = { TUNNEL_REQUEST_TIMEOUT_MS: '1' }
      assert.match(await failing(`request http://home:${silent.split(':')[1]}/`, 4, impatient), /TIMEOUT/)
    },
  )

  await t.test('a proxy that is not there, where another of --url is', async () => {
    const gone = `http://127.0.0.1:${await freePort()}`
    const lines = [
      [gone, proxy.url],
      [proxy.url, gone],
    ].map((urls) => ['machines', ...urls.flatMap((url) => ['--url', url])])
    for (const { code, stdout, stderr } of await tunnelLines(lines, env)) {
      assert.equal(code, 0, stderr)
      assert.match(stdout, /^home +o/m)
    }
  })

  await t.test('machines takes one wish at a time', async () => {
    assert.match(await failing('machines --trust a --forget b', 2), /no two of them/)
  })
})

test('an address where something else listens is no tunnel proxy', async (t) => {
  const env = isolated(await tempFolder(t), { TUNNEL_TOKEN: 'x' })
  const web = createServer((_request, response) => response.end('<html>welcome</html>'))
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
  t.after(() => web.close())
  const silent = await listenTcp(t, (socket) => socket.once('data', () => socket.destroy()))
  for (const url of [`http://127.0.0.1:${(web.address() as AddressInfo).port}`, `http://${silent}`]) {
    const lines = [['machines'], ['status'], ['stdio', 'home'], ['key']]
    const printed = await tunnelLines(lines, { ...env, TUNNEL_URL: url })
    for (const [index, { code, stderr }] of printed.entries()) {
      assert.equal(code, 4, `${lines[index]}: ${stderr}`)
      assert.match(stderr, /^tunnel \w+: [^\n]*(CONNECT_REFUSED|LINK_LOST)[^\n]*\n$/)
      assert.doesNotMatch(stderr, /welcome/)
    }
  }
})
