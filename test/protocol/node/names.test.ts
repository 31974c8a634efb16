import assert from 'node:assert/strict'
import test from 'node:test'
import { isMetadata } from '../../../protocol/node/addresses.ts'
import { type Lookup, Names } from '../../../protocol/node/names.ts'

const answering =
  (...addresses: string[]): Lookup =>
  async () =>
    addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))

const resolve = (...addresses: string[]) =>
  new Names('agent', answering(...addresses)).resolve('web.lan', 'ada')
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'resolved',
    (error) => error.code,
  )

test('a name that leads to a metadata address is refused in whatever form its resolver writes that', async () => {
  const forms = [
    ...['169.254.169.254', '169.254.1.1', '100.100.100.200', '168.63.129.16', '192.0.0.192'],
    ...['::ffff:169.254.169.254', '::ffff:a9fe:a9fe', '::a9fe:a9fe', '::ffff:0:a9fe:a9fe'],
    ...[
      '64:ff9b::169.254.169.254',
      '2002:a9fe:a9fe::1',
      'fd00:ec2::254',
      'fd20:ce::254',
      'fd00:a9fe:a9fe::1',
      'fd00:42::42',
    ],
    // A network's own prefix for NAT64, of each length that there is.
    ...['2001:db8:a9fe:a9fe::', '2001:db8:1a9:fea9:fe::', '2001:db8:1:a9fe:a9:fe00::'],
    ...[
      '2001:db8:1:2:a9:fea9:fe00::',
      '2001:db8:1:a9:fe:a9fe::',
      '64:ff9b:1::a9fe:a9fe',
      '2001:db8::6464:64c8',
    ],
    ...['fe80::1', 'fe80::1%eth0'],
  ]
  for (const address of forms) {
    assert.equal(await code(resolve(address)), 'POLICY_DENIED', address)
    // The answer of a rebinding name has an honest address too. One of a local network may be beside it.
    const beside = address.startsWith('fe80') ? 'resolved' : 'POLICY_DENIED'
    for (const both of [resolve(address, '192.0.2.1'), resolve('192.0.2.1', address)])
      assert.equal(await code(both), beside, address)
  }
  assert.deepEqual(await resolve('fe80::1%eth0', '192.0.2.1'), ['192.0.2.1'])
  assert.equal(
    await code(new Names('agent', answering('192.0.2.1')).resolve('metadata.google.internal', 'ada')),
    'POLICY_DENIED',
  )
  for (const address of ['2001:db8::1', '2606:4700::6812:1a4e', '64:ff9b::c000:201', '::1', '10.0.0.9'])
    assert.equal(isMetadata(address), false, address)
})

test('of what a resolver answers a few different addresses are given, both families in turn', async () => {
  assert.deepEqual(
    await resolve('192.0.2.1', '192.0.2.2', '::ffff:192.0.2.1', '2001:db8::1', '2001:DB8:0::1'),
    ['192.0.2.1', '2001:db8::1', '192.0.2.2'],
  )
  const thousands = Array.from({ length: 5_000 }, (_, index) => `10.0.${index >> 8}.${index & 255}`)
  assert.deepEqual(await resolve(...thousands), thousands.slice(0, 16))
  // What is beyond those is neither looked at nor dialled.
  assert.deepEqual(await resolve(...thousands, '169.254.169.254'), thousands.slice(0, 16))
  assert.equal(await code(resolve()), 'DNS_FAILED')
  const failing = new Names('agent', () =>
    Promise.reject(Object.assign(new Error('no'), { code: 'ENOTFOUND' })),
  )
  await assert.rejects(failing.resolve('web.lan', 'ada'), {
    code: 'DNS_FAILED',
    message: /web\.lan.*ENOTFOUND/,
  })
})

test('a resolver that never answers is TIMEOUT, holds up one user alone, and whoever leaves is gone at once', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const asked: string[] = []
  let answerSilent = (): void => {}
  const silence = new Promise<never[]>((resolve) => {
    answerSilent = () => resolve([])
  })
  const lookup: Lookup = (name) => {
    asked.push(name)
    return name.startsWith('slow') ? silence : answering('192.0.2.1')(name)
  }
  const names = new Names('agent', lookup, 4)
  const leave = new AbortController()
  const left = names.resolve('slow-0', 'eve', leave.signal)
  const slow = Array.from({ length: 300 }, (_, index) => names.resolve(`slow-${index + 1}`, 'eve'))
  const codes = Promise.all(slow.map(code))
  // Nobody waits behind her.
  assert.deepEqual(await names.resolve('web.lan', 'ada'), ['192.0.2.1'])
  assert.deepEqual(asked, ['slow-0', 'slow-1', 'web.lan'])
  leave.abort()
  assert.equal(await code(left), 'ABORTED')
  assert.equal(await code(names.resolve('late', 'ada', leave.signal)), 'ABORTED')
  t.mock.timers.tick(10_000)
  const told = await codes
  const count = (wanted: string) => told.filter((each) => each === wanted).length
  assert.deepEqual([count('TIMEOUT'), count('TOO_MANY_CONNECTIONS')], [257, 43])
  // Threads that still wait for the resolver are counted: she gets no further ones for asking again.
  const again = names.resolve('fast', 'eve')
  await Promise.resolve()
  assert.equal(asked.includes('fast'), false)
  answerSilent()
  assert.deepEqual(await again, ['192.0.2.1'])
  assert.deepEqual(await names.resolve('web.lan', 'ada'), ['192.0.2.1'])
})

test('no user has more than half of the lookups, or more than two, and few of them cannot hold up another', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  for (const [maxAtOnce, ofEve] of [
    [2, 1],
    [3, 1],
    [7, 2],
    [31, 2],
  ] as const) {
    const asked: string[] = []
    const names = new Names(
      'agent',
      (name) => {
        asked.push(name)
        return name === 'fast' ? answering('192.0.2.1')(name) : new Promise(() => {})
      },
      maxAtOnce,
    )
    for (let index = 0; index < 8; index++) void names.resolve(`slow-${index}`, 'eve').catch(() => {})
    assert.equal(asked.length, ofEve)
    for (let user = 1; (user + 1) * ofEve < maxAtOnce; user++)
      for (let index = 0; index < 8; index++)
        void names.resolve(`slow-${index}`, `friend ${user}`).catch(() => {})
    // Whoever is not one of them waits for none of their names.
    assert.deepEqual(await names.resolve('fast', 'ada'), ['192.0.2.1'])
  }
})
