import assert from 'node:assert/strict'
import test from 'node:test'
import { UsageError } from '../../../cli/failure.ts'
import { isPrivate, type LocalAddress } from '../../../cli/forwarding/local-address.ts'
import { parseForward, parseForwards } from '../../../cli/forwarding/specification.ts'

const tcp = (host: string | undefined, port: number): LocalAddress => ({ kind: 'tcp', host, port })
const unix = (path: string): LocalAddress => ({ kind: 'unix', path })

test('a forward is written as ssh -L has it, with the machine before the host', () => {
  const forms: [text: string, listen: LocalAddress, machine: string, target: string][] = [
    ['5432:home:127.0.0.1:5432', tcp(undefined, 5432), 'home', '127.0.0.1:5432'],
    ['0:home:db.lan:1', tcp(undefined, 0), 'home', 'db.lan:1'],
    ['localhost:80:home.tunnel:LOCALHOST:80', tcp(undefined, 80), 'home', 'localhost:80'],
    ['127.0.0.2:80:web.1a:h:80', tcp('127.0.0.2', 80), 'web.1a', 'h:80'],
    ['*:80:home:h:80', tcp('*', 80), 'home', 'h:80'],
    [':80:home:h:80', tcp('*', 80), 'home', 'h:80'],
    ['[::1]:80:home:[FD00:0::7]:443', tcp('::1', 80), 'home', '[fd00::7]:443'],
    ['80:home:[::1]:443', tcp(undefined, 80), 'home', '[::1]:443'],
    ['/run/a:b/x.sock:home:h:80', unix('/run/a:b/x.sock'), 'home', 'h:80'],
    ['./x:home:h:80', unix('./x'), 'home', 'h:80'],
    ['80:al@x.org/home:h:80', tcp(undefined, 80), 'al@x.org/home', 'h:80'],
    ['/a/b:al/home:h:80', unix('/a/b'), 'al/home', 'h:80'],
    ['80:home+al.tunnel:h:80', tcp(undefined, 80), 'al/home', 'h:80'],
  ]
  for (const [text, listen, machine, target] of forms)
    assert.deepEqual(parseForward(text), { listen, machine, target }, text)
})

test('what is no forward is refused with what is wrong about it', () => {
  const mistakes: [text: string, said: RegExp][] = [
    ['', /must look like \[BIND:\]PORT:MACHINE:HOST:PORT/],
    ['8080', /must look like/],
    ['8080:localhost:80', /must look like/],
    ['8080:10.0.0.7:80', /must look like/],
    ['8080:home:80', /did you mean 8080:home:127\.0\.0\.1:80\?/],
    ['8080:home:localhost:80:', /must look like/],
    ['8080:home:fd00::7:443', /neither \[BIND:\]PORT nor|must look like/],
    ['99999:home:h:80', /"99999" .*neither/],
    ['-1:home:h:80', /"-1" .*neither/],
    ['[::1:80:home:h:80', /neither/],
    ['[nonsense]:80:home:h:80', /neither/],
    ['/run/:home:h:80', /neither/],
    ['80:HOME:h:80', /"HOME" is not a valid machine name/],
    ['80:home:h:0', /"h:0" .*not a valid HOST:PORT/],
    ['80:home:h:70000', /"h:70000" .*not a valid HOST:PORT/],
    ['80:home:h h:80', /not a valid HOST:PORT/],
    ['80:home:/run/docker.sock', /not a Unix socket; `tunnel ssh -N -L 80:\/run\/docker\.sock home`/],
  ]
  for (const [text, said] of mistakes)
    assert.throws(
      () => parseForward(text),
      (error) => error instanceof UsageError && said.test(error.message),
      text,
    )
  assert.throws(
    () => parseForwards(['home', '8080:localhost:80']),
    /within each forward: 8080:home:localhost:80/,
  )
  assert.throws(
    () => parseForwards(['80:home:a:1', 'localhost:80:home:b:1']),
    /another forward listens there/,
  )
  assert.equal(parseForwards(['0:home:a:1', '0:home:b:1']).length, 2)
})

test('only loopback and sockets are private', () => {
  for (const address of [tcp(undefined, 1), tcp('127.9.9.9', 1), tcp('::1', 1), unix('/x')])
    assert.ok(isPrivate(address), JSON.stringify(address))
  for (const host of ['*', '0.0.0.0', '::', '192.168.1.2', 'example.com', '127.0.0.1.example.com'])
    assert.ok(!isPrivate(tcp(host, 1)), host)
})
