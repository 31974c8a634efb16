import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { setImmediate } from 'node:timers/promises'
import type { Program } from '../support/process.ts'
import { until } from '../support/proxy.ts'
import { startService } from '../support/service.ts'
import { requireSystem } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'
import { startTunnel, tunnel, tunnelLines } from './tunnel.ts'
import { buildWay, buildWayInside } from './way.ts'

const skip = requireSystem('sshd', 'ssh')

test('proxy, agent and commands, as a person types them', { skip }, async (t) => {
  const way = await buildWay(t)
  const { env } = way
  const ssh = (...args: string[]) => tunnel(['ssh', ...way.sshOptions, ...args], { env })

  await t.test('tunnel ssh runs a command, keeps both outputs apart, and passes on its status', async () => {
    const { code, stdout, stderr } = await ssh('home', 'echo out; echo err >&2; exit 42')
    assert.deepEqual([code, stdout, stderr], [42, 'out\n', 'err\n'])
  })

  await t.test('tunnel ssh passes stdin through, byte for byte', async () => {
    const input = randomBytes(3_000_000)
    const sent = tunnel(['ssh', ...way.sshOptions, `${way.sshd.user}@home`, 'sha256sum'], { env, input })
    assert.equal((await sent).stdout.slice(0, 64), createHash('sha256').update(input).digest('hex'))
  })

  await t.test('tunnel ssh to a machine that is not there says so and is 255', async () => {
    const { code, stderr } = await ssh('nowhere', 'true')
    assert.equal(code, 255)
    assert.match(stderr, /^tunnel stdio: [^\n]*MACHINE_UNKNOWN[^\n]*$/m)
  })

  await t.test('tunnel stdio half-closes both ways', async () => {
    const { code, stdout } = await tunnel(['stdio', 'home'], { env, input: 'no SSH at all\r\n' })
    assert.equal(code, 0)
    assert.match(stdout, /^SSH-2\.0-OpenSSH/)
  })

  await t.test('tunnel stdio to an address that the agent does not allow is refused', async () => {
    const { code, stderr } = await tunnel(['stdio', 'home', '127.0.0.1:1'], { env })
    assert.equal(code, 5, stderr)
    assert.match(stderr, /agent, POLICY_DENIED/)
  })

  await t.test('tunnel exec keeps stdin, stdout, stderr and the status', async () => {
    const line = 'wc -c; echo err >&2; exit 7'
    const { code, stdout, stderr } = await tunnel(['exec', 'home', '--', line], {
      env,
      input: 'x'.repeat(100_000),
    })
    assert.deepEqual([code, stdout.trim(), stderr.trim()], [7, '100000', 'err'])
  })

  await t.test('tunnel exec quotes several words and leaves one to the shell', async () => {
    const lines = [['printf', '%s|', 'a b', "it's", '$HOME'], ['echo a | tr a b']]
    const printed = await tunnelLines(
      lines.map((words) => ['exec', 'home', '--', ...words]),
      env,
    )
    assert.deepEqual(
      printed.map(({ stdout }) => stdout),
      ["a b|it's|$HOME|", 'b\n'],
    )
  })

  await t.test('Ctrl-C on tunnel exec is passed on, and the second one ends the connection', async (t) => {
    // It ends with its output: sshd leaves a command running whose connection has gone.
    const line = 'trap "echo got INT; exit 9" INT; echo up; while echo; do sleep 0.1; done'
    const running = startTunnel(t, ['exec', 'home', '--', line], { env, stdin: 'pipe' })
    await running.line('up')
    running.kill('SIGINT')
    // sshd passes no signal on to root's own sessions (it asks for privilege separation there).
    const refused = async () => {
      while (!way.sshd.stderr.includes('session signalling requires')) await setImmediate()
      running.kill('SIGINT')
    }
    const isRoot = process.getuid?.() === 0
    const [{ code }] = await Promise.all([running.exit, isRoot ? refused() : undefined])
    assert.equal(code, isRoot ? 130 : 9, running.stderr)
  })

  await t.test('Ctrl-C without an input ends tunnel exec as it ends a local command', async (t) => {
    const running = startTunnel(t, ['exec', 'home', '--', 'echo up; sleep 60'], { env })
    await running.line('up')
    running.kill('SIGINT')
    assert.deepEqual(await running.exit, { code: 130, signal: null })
    assert.equal(running.stderr, '')
  })

  await t.test('commands in a row leave no stream and no channel behind', async () => {
    const words = ['exec', 'home', '--', 'true']
    const printed = await tunnelLines(
      Array.from({ length: 6 }, () => words),
      env,
    )
    for (const { code, stderr } of printed) assert.equal(code, 0, stderr)
    await way.nothingLeft()
  })

  await t.test('a reader that leaves ends tunnel exec, its stream and its command', async (t) => {
    const running = startTunnel(t, ['exec', 'home', '--', 'echo up; while echo; do sleep 0.1; done'], { env })
    await running.line('up')
    running.child.stdout?.destroy()
    assert.deepEqual(await running.exit, { code: 141, signal: null })
    assert.equal(running.stderr, '')
    await way.nothingLeft()
  })

  await t.test('tunnel machines and status tell what is on line', async () => {
    const lines = [['machines'], ['status'], ['machines', '--json']]
    const [machines, status, json] = await tunnelLines(lines, env)
    assert.match(machines?.stdout ?? '', /^home +on line/m)
    assert.equal(status?.code, 0)
    assert.match(status.stdout, /: ready, up \d+ (?:s|min)[\s\S]*home +on line/)
    const listed = JSON.parse(json?.stdout ?? '') as { name: string }[]
    assert.deepEqual(
      listed.map(({ name }) => name),
      ['home'],
    )
  })

  await t.test("--authorize lets the proxy's key in on this machine, once", async (t) => {
    const home = await tempFolder(t)
    const own = { ...env, HOME: home }
    const lines = [['key'], ['key', '--authorize'], ['key', '--authorize']]
    const [key = '', ...said] = (await tunnelLines(lines, own)).map(({ stdout }) => stdout)
    assert.deepEqual(said, [
      `the key was added to ${home}/.ssh/authorized_keys\n`,
      `the key was in ${home}/.ssh/authorized_keys already\n`,
    ])
    const ssh = `127.0.0.1:${way.sshd.port}`
    const other = startTunnel(t, ['agent', '--machine', 'other', '--authorize', '--ssh', ssh], { env: own })
    await other.line(/on line/)
    const file = await readFile(join(home, '.ssh', 'authorized_keys'), 'utf8')
    assert.equal(file, `restrict,port-forwarding,pty,from="127.0.0.0/8,::1" ${key}`)
    await other.stop()
  })

  await t.test('--user is whom the proxy logs in as, and what tunnel machines shows', async () => {
    const other = await way.startAgent('--machine', 'other', '--user', 'nobody-of-this-name')
    assert.match((await tunnel(['machines'], { env })).stdout, /^other +on line .* nobody-of-this-name /m)
    const { code, stderr } = await tunnel(['exec', 'other', '--', 'true'], { env })
    assert.equal(code, 255)
    assert.match(stderr, /other did not let your key in as nobody-of-this-name[^\n]*\(ssh, SSH_AUTH_FAILED\)/)
    await other.stop()
  })

  await t.test('tunnel key prints the key bare, and --line as authorized_keys has it', async () => {
    const [key = '', line] = (await tunnelLines([['key'], ['key', '--line']], env)).map(
      ({ stdout }) => stdout,
    )
    assert.match(key, /^ssh-ed25519 \S+/)
    assert.equal(line, `restrict,port-forwarding,pty,from="127.0.0.0/8,::1" ${key}`)
  })

  await t.test('a token of somebody else sees nothing', async () => {
    const { stdout: token } = await tunnel(['token', '--sub', 'mallory', '--ttl', '5m'], { env })
    const other = { ...env, TUNNEL_TOKEN: token.trim() }
    const [listed, stdio] = await tunnelLines(
      [
        ['machines', '--json'],
        ['stdio', 'home'],
      ],
      other,
    )
    assert.deepEqual(JSON.parse(listed?.stdout ?? ''), [])
    assert.equal(stdio?.code, 4, stdio?.stderr)
    assert.match(stdio.stderr, /MACHINE_UNKNOWN/)
  })

  await t.test('a wrong token is status 3', async () => {
    const lines = [['machines'], ['stdio', 'home'], ['agent', '--machine', 'other']]
    for (const { code, stderr } of await tunnelLines(lines, { ...env, TUNNEL_TOKEN: 'a.b.c' })) {
      assert.equal(code, 3, stderr)
      assert.match(stderr, /^tunnel \w+: [^\n]*TOKEN_INVALID[^\n]*\n$/)
    }
  })

  await t.test('a second agent of the same name takes over; the first is told and stops', async () => {
    const second = await way.startAgent()
    const { code } = await way.agent.exit
    assert.equal(code, 1)
    assert.match(way.agent.stderr, /^tunnel agent: [^\n]*TAKEN_OVER/m)
    assert.equal(second.running, true)
    assert.equal((await ssh('home', 'true')).code, 0)
  })

  await t.test('an agent that is stopped ends its sessions with a word, at once', async (t) => {
    const agent = await way.startAgent()
    const running = startTunnel(t, ['ssh', ...way.sshOptions, 'home', 'echo up; sleep 600'], { env })
    await running.line('up')
    agent.kill('SIGINT')
    assert.deepEqual(await running.exit, { code: 255, signal: null })
    assert.match(running.stderr, /^tunnel stdio: [^\n]*\(agent, AGENT_LOST\)[^\n]*$/m)
    assert.deepEqual(await agent.exit, { code: 0, signal: null })
  })

  await t.test(
    'an agent whose log nobody reads any more stays on line, and a hang-up without a terminal too',
    async () => {
      const agent = await way.startAgent()
      agent.child.stdout?.destroy()
      agent.child.stderr?.destroy()
      agent.kill('SIGHUP')
      const refused = await tunnel(['stdio', 'home', '127.0.0.1:1'], { env })
      assert.match(refused.stderr, /agent, POLICY_DENIED/)
      assert.equal((await ssh('home', 'true')).code, 0)
      agent.kill('SIGINT')
      assert.deepEqual(await agent.exit, { code: 0, signal: null })
    },
  )

  await t.test('tunnel status tells how many sessions a machine has, and how many wait for it', async (t) => {
    const agent = await way.startAgent()
    const running = startTunnel(t, ['ssh', ...way.sshOptions, 'home', 'echo up; sleep 600'], { env })
    await running.line('up')
    const status = async () => (await tunnel(['status'], { env })).stdout
    assert.match(await status(), /^home +on line +\d+ s +[12] +/m)
    agent.kill('SIGKILL')
    await until(async () => /^home +off line +\d+ s +0, 1 waiting +/m.test(await status()))
  })
})

test('tunnel request speaks HTTP with the habits of curl', { skip }, async (t) => {
  const way = await buildWayInside(t)
  const { env } = way
  const folder = await tempFolder(t)
  const port = await startService(t, (request, response) => {
    if (request.url === '/missing') return void response.writeHead(404, 'Not Here').end('nothing\n')
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { method, url, headers } = request
      const sha256 = createHash('sha256').update(Buffer.concat(chunks)).digest('hex')
      response.setHeader('x-answer', 'yes')
      response.end(JSON.stringify({ method, url, headers, sha256 }))
    })
  })
  const base = `http://home:${port}`
  const request = (...args: string[]) => tunnel(['request', ...args], { env })
  const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest('hex')

  await t.test('GET, with the head before the body when asked', async () => {
    const { code, stdout } = await request('-i', '-H', 'X-Mine: a:b', `${base}/a?b=c`)
    assert.equal(code, 0)
    assert.match(stdout, /^HTTP\/1\.1 200 OK\r\n[\s\S]*x-answer: yes\r\n[\s\S]*?\r\n\{/)
    const { method, url, headers } = JSON.parse(stdout.split('\r\n\r\n')[1] ?? '')
    assert.deepEqual([method, url, headers['x-mine']], ['GET', '/a?b=c', 'a:b'])
  })

  await t.test('a body from text, from a file and from stdin', async () => {
    const bytes = randomBytes(2_000_000)
    await writeFile(join(folder, 'body'), bytes)
    const lines = [
      ['-d', 'a=1', '-d', 'b=2'],
      ['-X', 'PUT', '-d', `@${join(folder, 'body')}`],
    ].map((words) => ['request', ...words, base])
    const [text, file] = (await tunnelLines(lines, env)).map(({ stdout }) => JSON.parse(stdout))
    assert.deepEqual([text.method, text.sha256], ['POST', sha256('a=1&b=2')])
    assert.equal(text.headers['content-type'], 'application/x-www-form-urlencoded')
    assert.deepEqual([file.method, file.sha256], ['PUT', sha256(bytes)])
    const stdin = await tunnel(['request', '-d', '@-', base], { env, input: bytes })
    assert.equal(JSON.parse(stdin.stdout).sha256, sha256(bytes))
  })

  await t.test(
    '-o writes a file, -f turns an HTTP error into status 1, and a port on which nothing listens is status 4',
    async () => {
      const file = join(folder, 'out')
      const lines = [['-o', file, `${base}/missing`], ['-f', `${base}/missing`], ['http://home:1/']].map(
        (words) => ['request', ...words],
      )
      const [written, failed, refused] = await tunnelLines(lines, env)
      assert.equal(written?.code, 0, written?.stderr)
      assert.equal(await readFile(file, 'utf8'), 'nothing\n')
      assert.deepEqual([failed?.code, failed?.stdout], [1, ''])
      assert.match(failed?.stderr ?? '', /404 Not Here/)
      assert.equal(refused?.code, 4, refused?.stderr)
      assert.match(refused.stderr, /^tunnel request: [^\n]*CONNECT_REFUSED[^\n]*\n$/)
    },
  )

  await t.test(
    'an unfinished answer is shown as it comes, and a reader that leaves ends it quietly',
    async (t) => {
      const slow = await startService(t, (_request, response) => {
        response.write('first\n')
      })
      const running = startTunnel(t, ['request', `http://home:${slow}/`], { env })
      await running.line('first')
      assert.equal(running.running, true)
      running.child.stdout?.destroy()
      running.kill('SIGINT')
      await running.exit
      assert.equal(running.stderr, '')
    },
  )

  await t.test('Ctrl-C, SIGTERM and a reader that leaves end a request up to its service', async (t) => {
    let closed = 0
    const endless = await startService(t, (_request, response) => {
      const timer = setInterval(() => response.write('more\n'), 20)
      response.once('close', () => {
        clearInterval(timer)
        closed++
      })
    })
    const ends = {
      130: (running: Program) => running.kill('SIGINT'),
      143: (running: Program) => running.kill('SIGTERM'),
      141: (running: Program) => running.child.stdout?.destroy(),
    }
    for (const [status, end] of Object.entries(ends)) {
      const before = closed
      const running = startTunnel(t, ['request', `http://home:${endless}/`], { env })
      await running.line('more')
      end(running)
      assert.deepEqual(await running.exit, { code: Number(status), signal: null })
      assert.equal(running.stderr, '')
      await until(() => closed === before + 1)
    }
    await way.nothingLeft()
  })
})
