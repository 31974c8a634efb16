import assert from 'node:assert/strict'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { hostAlias, machineOfHost } from '../../cli/host-alias.ts'
import {
  type Destination,
  joined,
  lineOfHost,
  machinesIn,
  section,
  split,
} from '../../cli/ssh-config/section.ts'
import { run } from '../support/process.ts'
import { requireSystem } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, tunnel } from './tunnel.ts'
import { buildWayInside } from './way.ts'

const A = { urls: ['https://a.example'], options: ['--context', 'a'], context: 'a' } as const
const B = { urls: ['https://b.example:8443'], options: ['--url', 'https://b.example:8443'] } as const

/** What the section makes of a configuration that says `before`. */
function put(before: string, machines: string[], proxy: Destination): string {
  const parts = split(before)
  assert.ok(parts)
  return joined(parts, section(machines, proxy, parts.ours))
}

test('everything else in the configuration stays byte for byte, and a second time changes nothing', () => {
  const around = [
    '',
    'Host x\n  User me',
    'Host x\r\n  User m\xe4\r\n',
    '# c\n\n\n',
    'Match all\n\tUser\tme\n\n',
  ]
  for (const before of around) {
    const once = put(before, ['home'], A)
    assert.ok(once.startsWith(before))
    assert.equal(put(once, ['home'], A), once)
    const after = `${once}Host y\n  User m\xe4`
    const changed = put(after, ['home', 'nas'], A)
    assert.ok(changed.startsWith(before) && changed.endsWith('Host y\n  User m\xe4'))
    assert.equal(put(changed, ['home'], A), after)
  }
})

test('machines of one name are told apart by their contexts, also those that are not listed', {
  skip: requireSystem('ssh'),
}, async (t) => {
  const C = { urls: ['https://c.example'], options: ['--context', 'c'], context: 'c' } as const
  const file = join(await tempFolder(t), 'config')
  writeFileSync(file, put(put(put('', ['home'], A), ['home'], C), ['home'], A))
  for (const [host, context, alias] of [
    ['home', 'a', hostAlias('home', A.urls[0])],
    ['home.a.tunnel', 'a', hostAlias('home', A.urls[0])],
    ['home.c.tunnel', 'c', hostAlias('home', C.urls[0])],
    ['new.tunnel', 'a', undefined],
    ['new.a.tunnel', 'a', undefined],
    ['new.c.tunnel', 'c', undefined],
  ] as const) {
    const { stdout } = await run('ssh', ['-G', '-F', file, host])
    assert.match(stdout, new RegExp(`^proxycommand .* stdio --context ${context} `, 'm'), host)
    assert.equal(/^hostkeyalias (.*)$/m.exec(stdout)?.[1], alias, host)
    assert.match(stdout, /^serveralivecountmax 600$/m)
  }
  assert.equal(machineOfHost('new.c.tunnel', 'c'), 'new')
  assert.equal(machineOfHost('new.c.tunnel', 'a'), 'new.c')
})

test('the machines of two proxies stand beside each other, each with its own alias', () => {
  const both = put(put('', ['home', 'nas'], A), ['home'], B)
  assert.deepEqual(machinesIn(both, A.urls[0]), ['home', 'nas'])
  assert.deepEqual(machinesIn(both, B.urls[0]), ['home'])
  for (const [machine, url] of [
    ['nas', A.urls[0]],
    ['home', B.urls[0]],
  ] as const) {
    assert.ok(both.includes(`  HostKeyAlias ${hostAlias(machine, url)}\n`))
  }
  assert.equal(both.match(/^Host \*\.tunnel$/gm)?.length, 1)
})

test('a section of which one mark is missing is not guessed at', () => {
  const whole = put('', ['home'], A)
  const lines = whole.split('\n')
  assert.equal(split(lines.slice(0, -2).join('\n')), undefined)
  assert.equal(split(lines.slice(1).join('\n')), undefined)
  assert.equal(split(whole + whole), undefined)
  assert.equal(lineOfHost('Host a\n hOsT = b "home"\n#Host home', 'home'), 2)
  assert.equal(lineOfHost('#Host home\nHost homes *home\nHostName home', 'home'), undefined)
})

const skip = requireSystem('sshd', 'ssh', 'scp')

test('plain ssh and scp reach the machine, without an environment, under the alias of tunnel ssh', {
  skip,
}, async (t) => {
  const way = await buildWayInside(t)
  const home = await tempFolder(t)
  const env = { ...way.env, HOME: home, XDG_CONFIG_HOME: join(home, 'c'), SHELL: '/bin/sh' }
  const file = join(home, '.ssh', 'config')
  const tokenFile = join(home, 'token')
  writeFileSync(tokenFile, way.env.TUNNEL_TOKEN ?? '', { mode: 0o600 })
  await tunnel(['use', 'test', '--url', way.url, '--token-file', tokenFile], { env })
  const outer = await tunnel(['ssh-config', '--write'], { env })
  assert.equal(outer.code, 0, outer.stderr)
  assert.match(outer.stdout, /^\S+config is written: home, MACHINE\.tunnel by http.*; try `ssh home`\n$/)
  assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.equal(statSync(join(home, '.ssh')).mode & 0o777, 0o700)
  assert.match((await tunnel(['ssh-config', '--write'], { env })).stdout, /is as it should be already/)
  assert.deepEqual(readdirSync(join(home, '.ssh')), ['config'])

  // A program on the person's desktop: no PATH to speak of, and no variable of ours.
  const bare = { PATH: '/usr/bin:/bin', HOME: home, SHELL: '/bin/sh', XDG_CONFIG_HOME: env.XDG_CONFIG_HOME }
  const desktop = { ...bare, XDG_STATE_HOME: undefined, TUNNEL_STATE_DIR: way.env.TUNNEL_STATE_DIR }
  const known = join(home, 'known')
  const options = way.sshOptions
    .slice(2)
    .map((word) => word.replace(/^UserKnownHostsFile=.*/, `UserKnownHostsFile=${known}`))
  for (const name of ['home', 'home.tunnel']) {
    const { code, stdout, stderr } = await run('ssh', ['-F', file, ...options, name, 'echo', 'there'], {
      env: desktop,
    })
    assert.deepEqual([code, stdout], [0, 'there\n'], stderr)
  }
  const viaTunnel = await tunnel(['ssh', '-F', '/dev/null', ...options, 'home', 'true'], { env })
  assert.equal(viaTunnel.code, 0, viaTunnel.stderr)
  const aliases = readFileSync(known, 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(' ')[0])
  assert.deepEqual([...new Set(aliases)], [hostAlias('home', way.url)])
  writeFileSync(join(home, 'sent'), 'bytes')
  const copied = await run('scp', ['-F', file, ...options, join(home, 'sent'), `home:${join(home, 'got')}`], {
    env: desktop,
  })
  assert.equal(copied.code, 0, copied.stderr)
  assert.equal(readFileSync(join(home, 'got'), 'utf8'), 'bytes')

  await t.test('a Host section of the person for the same name is left alone, and told', async () => {
    writeFileSync(file, 'Host home\n  HostName 192.0.2.1\n')
    const { stdout, stderr } = await tunnel(['ssh-config', '--write'], { env })
    assert.match(stdout, /is written: MACHINE\.tunnel by/)
    assert.match(stderr, /line 1 of \S+config has another home: .* use home\.tunnel/)
    assert.doesNotMatch(readFileSync(file, 'utf8'), /^Host home home\.tunnel/m)
  })
})

test('where the proxy cannot be asked, printing goes on, and writing changes nothing', async (t) => {
  const home = await tempFolder(t)
  const env = isolated(home, { HOME: home, TUNNEL_URL: 'http://127.0.0.1:1', TUNNEL_TOKEN: 'secret' })
  const printed = await tunnel(['ssh-config'], { env })
  assert.equal(printed.code, 0)
  assert.match(
    printed.stdout,
    /^Host \*\.tunnel\n {2}HostName %h\.localhost-1\.tunnel\n.*stdio --url http:\/\/127\.0\.0\.1:1 %n$/m,
  )
  assert.doesNotMatch(printed.stdout + printed.stderr, /secret/)
  assert.match(
    printed.stderr,
    /^tunnel ssh-config: warning: no machine can be called by its name alone[^\n]*\n$/,
  )
  assert.equal((await tunnel(['ssh', '--show-config'], { env })).stdout, printed.stdout)
  const written = await tunnel(['ssh-config', '--write'], { env })
  assert.equal(written.code, 4, written.stderr)
  assert.deepEqual(readdirSync(home).includes('.ssh'), false)
  const named = await tunnel(['ssh-config', '--write', 'nas', 'al@x.org/home'], { env })
  assert.equal(named.code, 0, named.stderr)
  const config = readFileSync(join(home, '.ssh', 'config'), 'utf8')
  assert.match(config, /^Host nas nas\.tunnel$/m)
  assert.match(
    config,
    /^Host home\+al\+x\.org home\+al\+x\.org\.tunnel\n {2}HostName home\+al\+x\.org\.tunnel\.localhost-1\.tunnel\n(?: .*\n)* .* stdio .* al@x\.org\/home$/m,
  )
})

test('a configuration that is a link stays one', async (t) => {
  const home = await tempFolder(t)
  const env = isolated(home, { HOME: home })
  mkdirSync(join(home, '.ssh'))
  const real = join(home, 'dotfiles-ssh')
  writeFileSync(real, 'User me\n', { mode: 0o644 })
  symlinkSync(real, join(home, '.ssh', 'config'))
  const write = () => tunnel(['ssh-config', '--write', 'home'], { env })
  assert.equal((await write()).code, 0)
  assert.ok(lstatSync(join(home, '.ssh', 'config')).isSymbolicLink())
  assert.match(readFileSync(real, 'utf8'), /^User me\n\n# >>> /)
  assert.equal(statSync(real).mode & 0o777, 0o600)
  if (process.getuid?.() === 0) return
  writeFileSync(real, 'User me\n')
  chmodSync(home, 0o500)
  const { code, stderr } = await write()
  chmodSync(home, 0o700)
  assert.equal(code, 2)
  assert.match(stderr, /cannot be written \(permission denied, EACCES\)/)
})
