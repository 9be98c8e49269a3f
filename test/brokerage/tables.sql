-- tables.sql: the tables of the brokerage, as it works with them; in the warehouse the same tables take a copy of the
-- source's rows, which is what the star is held against. No foreign keys: a trade may come before its security.
CREATE SCHEMA oltp;

CREATE TABLE oltp.holiday (date date PRIMARY KEY, name text NOT NULL);

CREATE TABLE oltp.industry (industry text PRIMARY KEY, name text NOT NULL, sector text);

CREATE TABLE oltp.company (
    company_id  integer PRIMARY KEY,
    name        text NOT NULL,
    industry    text,
    rating      text,
    ceo         text,
    founded     date,
    status      text NOT NULL,
    changed_at  timestamptz NOT NULL
);

CREATE TABLE oltp.security (
    symbol      text PRIMARY KEY,
    company_id  integer,
    name        text,
    issue       text NOT NULL,
    exchange    text NOT NULL,
    shares      numeric,
    status      text NOT NULL,
    changed_at  timestamptz NOT NULL
);

CREATE TABLE oltp.broker (
    branch     text,
    broker_no  integer,
    name       text NOT NULL,
    title      text,
    manager    text,
    "group"    text,
    PRIMARY KEY (branch, broker_no)
);

CREATE TABLE oltp.customer (
    customer_id  bigint PRIMARY KEY,
    tax_id       text,
    last_name    text NOT NULL,
    first_name   text,
    gender       text,
    born         date,
    tier         smallint,
    street       text,
    city         text,
    country      text,
    email        text,
    phone        text,
    net_worth    numeric,
    credit       integer,
    status       text NOT NULL,
    joined_on    date NOT NULL,
    changed_at   timestamptz NOT NULL
);

CREATE TABLE oltp.account (
    account_id   bigint PRIMARY KEY,
    customer_id  bigint NOT NULL,
    branch       text,
    broker_no    integer,
    description  text,
    tax_status   smallint,
    status       text NOT NULL,
    opened_on    date NOT NULL,
    changed_at   timestamptz NOT NULL
);

CREATE TABLE oltp.account_holder (
    account_id   bigint,
    customer_id  bigint,
    share        numeric NOT NULL,
    PRIMARY KEY (account_id, customer_id)
);

CREATE TABLE oltp.trade (
    trade_id      bigint PRIMARY KEY,
    account_id    bigint NOT NULL,
    symbol        text,
    side          text NOT NULL,
    is_cash       boolean,
    channel       text,
    quantity      integer NOT NULL,
    "limit"       numeric,
    price         numeric,
    fee           numeric(12,2),
    commission    numeric(12,2),
    status        text NOT NULL,
    created_at    timestamptz NOT NULL,
    submitted_at  timestamptz,
    completed_at  timestamptz,
    cancelled_at  timestamptz
);

CREATE TABLE oltp.trade_history (
    trade_id  bigint,
    status    text,
    at        timestamptz NOT NULL,
    PRIMARY KEY (trade_id, status)
);

-- "at" is wall clock time in New York.
CREATE TABLE oltp.cash_transaction (
    cash_id     bigint PRIMARY KEY,
    account_id  bigint,
    trade_id    bigint,
    at          timestamp,
    kind        text NOT NULL,
    amount      numeric NOT NULL
);

-- What is left of each purchase: sales take from the oldest, and what is used up goes.
CREATE TABLE oltp.holding (
    trade_id    bigint PRIMARY KEY,
    account_id  bigint NOT NULL,
    symbol      text NOT NULL,
    quantity    integer NOT NULL,
    cost        numeric NOT NULL,
    opened_at   timestamptz NOT NULL
);

CREATE TABLE oltp.watch (
    customer_id  bigint,
    symbol       text,
    placed_at    timestamptz,
    removed_at   timestamptz,
    PRIMARY KEY (customer_id, symbol, placed_at)
);

CREATE TABLE oltp.daily_market (
    symbol  text,
    day     date,
    close   numeric NOT NULL,
    high    numeric NOT NULL,
    low     numeric NOT NULL,
    volume  bigint,
    PRIMARY KEY (symbol, day)
);

-- What customers looked at: kept for the record alone, no model reads it.
CREATE TABLE oltp.visit (
    visit_id     bigint PRIMARY KEY,
    customer_id  bigint,
    at           timestamptz NOT NULL,
    page         text
);
ALTER TABLE oltp.visit REPLICA IDENTITY FULL;
