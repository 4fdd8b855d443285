#!/usr/bin/env node
// Follows killfeed's stream of EVE Online killmails from Node. It loses no killmail when either side restarts.
//
//   npm install --prefix examples/node
//   node examples/node/follow.js --filter 'value>=1b space:lowsec'
//
// Prints one line per killmail. A small file (--state) stores the position after each handled killmail, so the next run
// continues there. `follow` contains the logic for resuming; replace `handle` with your own code.
'use strict'

const fs = require('node:fs')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { setTimeout: sleep } = require('node:timers/promises')
const grpc = require('@grpc/grpc-js')
const loader = require('@grpc/proto-loader')

const PROTO = path.resolve(__dirname, '../../proto')
// 64-bit numbers arrive as text, because JavaScript's numbers are exact only up to 2^53.
const FORMAT = { longs: String, enums: String, defaults: true, oneofs: true, includeDirs: [PROTO] }
const v1 = grpc.loadPackageDefinition(loader.loadSync('killfeed/v1/killmail_service.proto', FORMAT)).killfeed.v1

const { values: options } = parseArgs({
  options: {
    target: { type: 'string', default: '127.0.0.1:50051' },
    filter: { type: 'string', default: '' },
    token: { type: 'string', default: process.env.KILLFEED_TOKEN ?? '' },
    ca: { type: 'string' }, // PEM file of the CA that signed the ingestor's certificate; turns TLS on
    state: { type: 'string', default: 'killfeed-state.json' },
    earliest: { type: 'boolean', default: false }, // without a cursor: start at the oldest killmail in the log
    count: { type: 'string', default: '0' } // stop after this many killmails; 0 = never
  }
})

// The saved state: a cursor, the server's time at that cursor, and the ids of the last handled killmails.
const KEPT = 20_000 // More than a normal day of killmails.
const saved = fs.existsSync(options.state) ? JSON.parse(fs.readFileSync(options.state, 'utf8')) : {}
const state = { cursor: saved.cursor ?? '', time: saved.time ?? 0, handled: new Set(saved.handled) }

function save () {
  while (state.handled.size > KEPT) state.handled.delete(state.handled.values().next().value)
  // Rename replaces the file atomically, so a crash leaves either the old state or the new one.
  fs.writeFileSync(`${options.state}.tmp`, JSON.stringify({ ...state, handled: [...state.handled] }), { flush: true })
  fs.renameSync(`${options.state}.tmp`, options.state)
}

// Returns the name of an id in this killmail. An id is unique only within its kind.
function name (killmail, kind, id) {
  const found = killmail.entities.find(entity => entity.kind === `ENTITY_KIND_${kind}` && entity.id === String(id))
  return found?.name
}

// Handles a killmail. Replace this with your own code.
function handle (killmail) {
  const { victim, location, value } = killmail
  const who = name(killmail, 'CHARACTER', victim.characterId) ?? name(killmail, 'CORPORATION', victim.corporationId) ?? 'unknown'
  const ship = name(killmail, 'TYPE', victim.shipTypeId) ?? `type ${victim.shipTypeId}`
  // `_total` is set only if the killmail has a value.
  const worth = value?._total ? `${(value.total / 1e6).toFixed(1)}m ISK` : 'value unknown'
  console.log(`${ship} of ${who} in ${location.systemName}, ${worth}, ${killmail.attackers.length} attackers` +
    `  https://zkillboard.com/kill/${killmail.killmailId}/`)
}

const seconds = timestamp => Number(timestamp.seconds) + timestamp.nanos / 1e9

function request (since, onExpired) {
  const start = since !== undefined
    ? { since: { seconds: String(Math.floor(since)), nanos: 0 } }
    : state.cursor ? { afterCursor: state.cursor } : { position: options.earliest ? 'POSITION_EARLIEST' : 'POSITION_LATEST' }
  return { filter: options.filter, onExpired, clientName: 'example-node', ...start }
}

// Handles events one by one, and retries after errors. The cursor survives each attempt.
async function follow (client) {
  const metadata = new grpc.Metadata()
  if (options.token) metadata.set('authorization', `Bearer ${options.token}`)
  const count = Number(options.count)
  let failures = 0
  let handled = 0
  let since
  let onExpired = 'ON_EXPIRED_FAIL'
  while (true) {
    const stream = client.StreamKillmails(request(since, onExpired), metadata)
    try {
      for await (const event of stream) {
        failures = 0
        since = undefined
        onExpired = 'ON_EXPIRED_FAIL'
        if (event.event === 'killmail') {
          const key = `${event.killmail.killmailId}.${event.killmail.revision}`
          if (!state.handled.has(key)) {
            handle(event.killmail)
            handled += 1
          }
          state.handled.add(key)
          state.time = seconds(event.killmail.ingestedTime)
        } else if (event.event === 'gap') {
          console.error(`note: killmails may be missing here: ${event.gap.reason}, ${event.gap.missing} killmails (0 = unknown)`)
        } else if (event.progress?.caughtUp) {
          state.time = seconds(event.progress.serverTime)
        }
        // Save the cursor only after handling the event. A killmail that was not handled arrives again.
        state.cursor = event.cursor
        save()
        if (count && handled >= count) return
      }
    } catch (error) {
      const { INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED, OUT_OF_RANGE, FAILED_PRECONDITION } = grpc.status
      if ([INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED].includes(error.code)) throw error
      if (error.code === undefined) throw error // Not an error of the stream: for example a full disk, or a bug in `handle`.
      if (error.code === OUT_OF_RANGE && onExpired === 'ON_EXPIRED_FAIL') {
        console.error('note: the cursor is older than the log; continuing at the start of the log')
        onExpired = 'ON_EXPIRED_CONTINUE'
        continue
      }
      if (error.code === FAILED_PRECONDITION) {
        console.error('note: the log has changed; continuing ten minutes before the last event')
        since = state.time - 600
        onExpired = 'ON_EXPIRED_CONTINUE'
      }
      failures += 1
      const wait = Math.random() * Math.min(60, 0.5 * 2 ** Math.min(failures, 10))
      console.error(`note: ${error.message}; retrying in ${wait.toFixed(1)} s`)
      await sleep(wait * 1000)
    } finally {
      stream.cancel()
    }
  }
}

const credentials = options.ca
  ? grpc.credentials.createSsl(fs.readFileSync(options.ca))
  : grpc.credentials.createInsecure()
const client = new v1.KillmailService(options.target, credentials, {
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.max_receive_message_length': 16 << 20
})
follow(client)
  .catch(error => {
    console.error(`error: ${error.message}`)
    process.exitCode = 1
  })
  .finally(() => client.close())
