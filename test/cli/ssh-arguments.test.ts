import assert from 'node:assert/strict'
import test from 'node:test'
import { sshArguments } from '../../cli/commands/ssh.ts'
import { UsageError } from '../../cli/failure.ts'
import { hostOf, machineOfHost } from '../../cli/host-alias.ts'
import { readSshArguments } from '../../cli/ssh-arguments.ts'

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
})

test('ssh is more patient than an outage, unless its patience was given', () => {
  const patience = (line: string) =>
    sshArguments(readSshArguments(line.split(' ')), 'home', 'http://127.0.0.1:3001').filter((word) =>
      /ServerAliveCountMax/i.test(word),
    )
  assert.deepEqual(patience('home'), ['ServerAliveCountMax=600'])
  assert.deepEqual(patience('-o serveralivecountmax=2 home'), ['serveralivecountmax=2'])
})
