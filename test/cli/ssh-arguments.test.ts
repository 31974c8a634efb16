import assert from 'node:assert/strict'
import test from 'node:test'
import { sshArguments } from '../../cli/commands/ssh.ts'
import { UsageError } from '../../cli/failure.ts'
import { hostOf, machineOfHost } from '../../cli/host-alias.ts'
import { readSshArguments } from '../../cli/ssh-arguments.ts'
import { machineAsHost } from '../../protocol/codec/machine-host.ts'

const machineOf = (line: string) => readSshArguments(line.split(' ')).machine

test('the machine is found behind any of ssh options, with arguments apart or attached', () => {
  const lines = [
    'home',
    'me@home ls -l',
    '-p 22 home',
    '-p22 home',
    '-vvp 22 home',
    '-tt -L 8080:127.0.0.1:80 -i key me@home -- ls',
    '-o User=me -oPort=22 -NfD 1080 home',
    '-J jump -W a:1 home',
    '-- home',
    'ssh://me@home:2222',
    'a@b@home',
  ]
  for (const line of lines) assert.equal(machineOf(line), 'home', line)
})

test("another user's machine is OWNER/NAME, where ssh can be told so", () => {
  for (const line of ['al/home', 'me@al/home', '-l me al.2~x/home ls'])
    assert.match(machineOf(line)!, /^al.*\/home$/)
  for (const [line, host] of [
    ['ssh://me@al/home', 'home+al.tunnel'],
    ['me@al@x.org/home', 'home+al+x.org.tunnel'],
    ['auth0|Aa/home', 'home+auth0=7c=41a.tunnel'],
  ] as const)
    assert.throws(
      () => machineOf(line),
      (error) => error instanceof UsageError && error.message.endsWith(`: write ${host}`),
    )
})

test('options of ours come first, and what follows is passed on untouched', () => {
  const line = [
    '--url',
    'http://127.0.0.1:1',
    '--profile=default',
    '--verbose',
    '-v',
    'home',
    'echo',
    '--url',
    "it's",
  ]
  const { passOn, url, profile, verbose, machine } = readSshArguments(line)
  assert.deepEqual(
    { url, profile, verbose, machine },
    { url: ['http://127.0.0.1:1'], profile: 'default', verbose: true, machine: 'home' },
  )
  assert.deepEqual(passOn, ['-v', 'home', 'echo', '--url', "it's"])
})

test('no machine is a mistake, except with the options that need none', () => {
  for (const line of [[], ['-p', '22'], ['-o', 'User=me']])
    assert.throws(() => readSshArguments(line), UsageError)
  assert.throws(() => readSshArguments(['--wrong', 'home']), UsageError)
  for (const line of [['-V'], ['-Q', 'cipher']]) assert.equal(readSshArguments(line).machine, undefined)
})

test('the host key is filed under a name that no real host has, another for each proxy', () => {
  const given = readSshArguments(['home'])
  const aliasAt = (url: string) =>
    sshArguments(given, 'home', url).find((word) => word.startsWith('HostKeyAlias='))
  assert.equal(aliasAt('http://127.0.0.1:3001'), 'HostKeyAlias=home.tunnel')
  assert.equal(aliasAt('http://localhost:4001'), 'HostKeyAlias=home.tunnel.localhost-4001.tunnel')
  assert.equal(aliasAt('wss://tunnel.example.com'), 'HostKeyAlias=home.tunnel.tunnel.example.com.tunnel')
  assert.equal(
    aliasAt('wss://tunnel.example.com:8443/x'),
    'HostKeyAlias=home.tunnel.tunnel.example.com-8443.tunnel',
  )
})

test('a name with the suffix leads to the machine, whatever the machine is called', () => {
  for (const machine of ['home', 'home.tunnel']) assert.equal(machineOfHost(hostOf(machine)), machine)
  assert.equal(machineOfHost('home.tunnel'), 'home')
  const owners = ['al', 'al@x.org', 'al=2bx.org', 'al+x.org', 'auth0|Aa', 'auth0|aa', 'u:1~-_']
  const hosts = owners.map((owner) => `${machineAsHost(`${owner}/home`)}.tunnel`)
  assert.deepEqual(
    hosts.map((host) => machineOfHost(host)),
    owners.map((owner) => `${owner}/home`),
  )
  assert.equal(new Set(hosts.map((host) => host.toLowerCase())).size, owners.length)
  assert.equal(machineOfHost('home+al.work.tunnel', 'work'), 'al/home')
  assert.equal(hostOf('al/home'), 'al/home')
})

test('ssh is more patient than an outage, unless its patience was given', () => {
  const patience = (line: string) =>
    sshArguments(readSshArguments(line.split(' ')), 'home', 'http://127.0.0.1:3001').filter((word) =>
      /ServerAliveCountMax/i.test(word),
    )
  assert.deepEqual(patience('home'), ['ServerAliveCountMax=600'])
  assert.deepEqual(patience('-o serveralivecountmax=2 home'), ['serveralivecountmax=2'])
})
